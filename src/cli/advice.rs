//! Which option helps where the library says what is wrong: whoever calls it from a program has none.

use crate::view::{ClientError, ViewError};

/// The options to say behind an error, where there are such.
pub(super) fn of(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        let view = cause.downcast_ref().and_then(of_view);
        view.or_else(|| cause.downcast_ref().and_then(of_watching))
    })
}

fn of_view(error: &ViewError) -> Option<String> {
    matches!(error, ViewError::Open { .. })
        .then(|| "--view-token-file FILE, --view-allow PIN".to_owned())
}

fn of_watching(error: &ClientError) -> Option<String> {
    match error {
        ClientError::Token { .. } => Some("--token-file FILE, or FRAMELANE_VIEW_TOKEN".to_owned()),
        ClientError::NotAllowed { own, .. } => Some(format!("at the receiver --view-allow {own}")),
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
    }
}
