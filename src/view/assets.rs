//! The page: written by hand, in the binary, and asking nobody else for anything.

/// A file of the page.
pub(super) struct Asset {
    pub(super) media: &'static str,
    pub(super) content: &'static [u8],
}

/// The modules of the page's script, by their names.
macro_rules! modules {
    ($($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("page/", $name, ".js")).as_slice())),+]
    };
}

const MODULES: &[(&str, &[u8])] = modules![
    "page", "keys", "colour", "one", "paint", "side", "grid", "link", "spark", "state", "picture",
    "dom", "words",
];

/// The file at an address.
pub(super) fn at(path: &str) -> Option<Asset> {
    if let Some(name) = path.strip_prefix('/').and_then(|path| path.strip_suffix(".js")) {
        let (_, content) = MODULES.iter().find(|(known, _)| *known == name)?;
        return Some(Asset { media: "text/javascript; charset=utf-8", content });
    }
    let (media, content): (_, &[u8]) = match path {
        "/" => ("text/html; charset=utf-8", include_bytes!("page/index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_bytes!("page/page.css")),
        "/icon.svg" => ("image/svg+xml", include_bytes!("page/icon.svg")),
        _ => return None,
    };
    Some(Asset { media, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(path: &str) -> &'static str {
        std::str::from_utf8(at(path).unwrap().content).unwrap()
    }

    /// What a module imports: names, and the module that they are of.
    fn imports(name: &str) -> Vec<(Vec<&'static str>, &'static str)> {
        let lines = text(&format!("/{name}.js")).lines().filter(|line| line.starts_with("import "));
        lines
            .map(|line| {
                let of = line.split_once("'./").unwrap().1.strip_suffix(".js';").unwrap();
                let names = line.split_once("{ ").and_then(|(_, rest)| rest.split_once(" }"));
                (names.map_or(Vec::new(), |(names, _)| names.split(", ").collect()), of)
            })
            .collect()
    }

    #[test]
    fn a_module_imports_what_there_is_of_those_behind_it() {
        let place = |name: &str| MODULES.iter().position(|(known, _)| *known == name).unwrap();
        for (name, _) in MODULES {
            for (names, of) in imports(name) {
                assert!(place(of) > place(name), "{name} imports {of}");
                let content = text(&format!("/{of}.js"));
                for wanted in names {
                    let is_there = ["function", "async function", "const"].iter().any(|kind| {
                        let line = format!("export {kind} {wanted}");
                        content
                            .split_once(&line)
                            .is_some_and(|(_, rest)| rest.starts_with(['(', ' ']))
                    });
                    assert!(is_there, "{name} imports {wanted} of {of}");
                }
            }
            let whole = text(&format!("/{name}.js"));
            assert!(whole.lines().count() < 300, "{name} does too much");
        }
    }

    #[test]
    fn all_that_the_page_names_is_served() {
        let page = text("/");
        for key in ["href=\"", "src=\""] {
            for named in page.split(key).skip(1).filter_map(|rest| rest.split('"').next()) {
                let is_file = named.contains('.');
                assert!(!is_file || at(&format!("/{named}")).is_some(), "{named}");
            }
        }
        for (name, _) in MODULES {
            assert!(page.contains(&format!("\"{name}.js\"")), "{name} is asked for late");
        }
        assert!(at("/nothing.js").is_none() && at("/page").is_none());
    }
}
