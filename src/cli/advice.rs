//! Which option helps where the library says what is wrong: whoever calls it from a program has none.

use std::path::Path;

use crate::door::{ListenError, StartError};
use crate::identity::IdentityError;
use crate::view::{ClientError, ViewError};

/// The options to say behind an error, where there are such.
pub(super) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let view = cause.downcast_ref().and_then(of_view);
        let identity = || cause.downcast_ref().and_then(of_identity);
        // The front door's errors are said in their causes' words, and hide these.
        let started = || match cause.downcast_ref()? {
            StartError::Identity(error) => of_identity(error),
            _ => None,
        };
        let listening = || match cause.downcast_ref()? {
            ListenError::Identity(error) => of_identity(error),
            _ => None,
        };
        let watching = || cause.downcast_ref().and_then(of_watching);
        view.or_else(identity).or_else(started).or_else(listening).or_else(watching)
    })
}

fn of_identity(error: &IdentityError) -> Option<String> {
    let certs = |folder: &Path| format!("framelane certs --certs {}", folder.display());
    let again = |folder: &Path| format!("{} --force", certs(folder));
    match error {
        IdentityError::Missing { folder } => Some(certs(folder)),
        IdentityError::Half { folder, .. }
        | IdentityError::Exists { folder, .. }
        | IdentityError::Unusable { folder, .. }
        | IdentityError::BadCertificate { folder, .. } => Some(again(folder)),
        // A file of trust may be in the same form, and is nothing that could be made anew.
        IdentityError::Pem { path, remedy, .. } if remedy.contains("new identity") => {
            path.parent().map(again)
        }
        IdentityError::Name(_) => Some("--name HOST".to_owned()),
        IdentityError::Days { .. } => Some("--days N".to_owned()),
        _ => None,
    }
}

fn of_view(error: &ViewError) -> Option<String> {
    matches!(error, ViewError::Open { .. })
        .then(|| "--view-token-file FILE, --view-allow PIN".to_owned())
}

fn of_watching(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Token { .. } => Some("--token-file FILE, or FRAMELANE_VIEW_TOKEN".to_owned()),
        ClientError::NotAllowed { own, .. } => Some(format!("at the receiver --view-allow {own}")),
        ClientError::Name { .. } => Some("at the receiver --view-host NAME".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn an_option_is_said_where_one_helps() {
        let open = ViewError::Open { address: ([0, 0, 0, 0], 80).into() };
        assert!(!open.to_string().contains("--"), "{open}");
        let error = Err::<(), _>(open).context("cannot receive").unwrap_err();
        assert!(of(&error).is_some_and(|advice| advice.contains("--view-allow")));
        assert_eq!(of(&anyhow!("something else")), None);
        let missing = || IdentityError::Missing { folder: "here".into() };
        assert!(!missing().to_string().contains("--"), "{}", missing());
        for error in [anyhow!(missing()), StartError::from(missing()).into()] {
            assert_eq!(of(&error).as_deref(), Some("framelane certs --certs here"));
        }
    }
}
