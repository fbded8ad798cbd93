//! The page: written by hand, in the binary, and asking nobody else for anything.

/// A file of the page.
pub(super) struct Asset {
    pub(super) media: &'static str,
    pub(super) content: &'static [u8],
}

/// The file at an address.
pub(super) fn at(path: &str) -> Option<Asset> {
    let (media, content): (_, &[u8]) = match path {
        "/" => ("text/html; charset=utf-8", include_bytes!("page/index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_bytes!("page/page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_bytes!("page/page.js")),
        "/picture.js" => ("text/javascript; charset=utf-8", include_bytes!("page/picture.js")),
        "/icon.svg" => ("image/svg+xml", include_bytes!("page/icon.svg")),
        _ => return None,
    };
    Some(Asset { media, content })
}
