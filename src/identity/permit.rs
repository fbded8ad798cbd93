//! A policy that changes while a receiver runs, and the permit that a session has from it.

use std::sync::Arc;

use tokio::sync::watch;

use super::pin::Pin;
use super::sender_name::SenderName;
use super::senders::SenderPolicy;

/// Hex digits of a pin that stand for it in a folder's name: 128 bits, which nobody can make collide with
/// another sender's.
const PIN_DIGITS: usize = 32;

/// The policy that all connections of a receiver go by, now and after it has changed.
///
/// Clones share it.
#[derive(Debug, Clone)]
pub struct SharedPolicy(Arc<watch::Sender<SenderPolicy>>);

/// What a new policy changes for senders that are listed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PolicyChange {
    /// Certificates that are let in from now on.
    pub added: Vec<Pin>,
    /// Certificates that are not any more; their sessions end.
    pub removed: Vec<Pin>,
    /// Certificates with another name than before; it counts from their next session on.
    pub renamed: Vec<Pin>,
}

impl PolicyChange {
    /// True where nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.renamed.is_empty()
    }
}

impl From<SenderPolicy> for SharedPolicy {
    fn from(policy: SenderPolicy) -> Self {
        Self(Arc::new(watch::channel(policy).0))
    }
}

impl SharedPolicy {
    /// The policy as it is now.
    pub fn current(&self) -> SenderPolicy {
        self.0.borrow().clone()
    }

    /// Puts another in its place: from here on it decides, and sessions of senders that it does not let in
    /// are told to end.
    pub fn replace(&self, policy: SenderPolicy) -> PolicyChange {
        let mut change = PolicyChange::default();
        self.0.send_if_modified(|current| {
            change = compare(current, &policy);
            let differs = *current != policy;
            *current = policy;
            differs
        });
        change
    }

    /// Whether the sender with this certificate may send.
    pub fn allows(&self, sender: Pin) -> bool {
        self.0.borrow().allows(sender)
    }

    /// Whether it is this very certificate that is trusted.
    pub(super) fn knows(&self, sender: Pin) -> bool {
        self.0.borrow().knows(sender)
    }

    /// A permit for the sender with this certificate, where it may send.
    pub fn permit(&self, sender: Pin) -> Option<Permit> {
        let policy = self.0.subscribe();
        let name = {
            let policy = policy.borrow();
            policy.allows(sender).then(|| policy.name_of(sender).cloned())?
        };
        Some(Permit { sender: Some((sender, policy)), name })
    }
}

fn compare(before: &SenderPolicy, after: &SenderPolicy) -> PolicyChange {
    let listed = |policy: &SenderPolicy| match policy {
        SenderPolicy::Only(list) => list.pins().collect(),
        SenderPolicy::Local | SenderPolicy::Any => Vec::new(),
    };
    let (old, new) = (listed(before), listed(after));
    PolicyChange {
        added: new.iter().copied().filter(|pin| !before.allows(*pin)).collect(),
        removed: old.iter().copied().filter(|pin| !after.allows(*pin)).collect(),
        renamed: new
            .into_iter()
            .filter(|pin| old.contains(pin) && before.name_of(*pin) != after.name_of(*pin))
            .collect(),
    }
}

/// The leave of one sender to send, for as long as the policy gives it.
#[derive(Debug, Clone)]
pub struct Permit {
    /// `None` for a sender that its transport does not authenticate.
    sender: Option<(Pin, watch::Receiver<SenderPolicy>)>,
    name: Option<SenderName>,
}

impl Permit {
    /// For a sender of a transport that authenticates nobody. It is never withdrawn.
    pub fn unauthenticated() -> Self {
        Self { sender: None, name: None }
    }

    /// The sender's certificate, where it has one.
    pub fn pin(&self) -> Option<Pin> {
        self.sender.as_ref().map(|(pin, _)| *pin)
    }

    /// The name that the receiver's user has given to the sender, if any, as of the session's begin.
    pub fn name(&self) -> Option<&SenderName> {
        self.name.as_ref()
    }

    /// What the sender is called in a folder's name: its name, or `sha256-` and the first 32 digits of its
    /// pin, or `unauthenticated`. One part of a path, and no other sender's.
    pub fn folder_name(&self) -> String {
        match (&self.name, self.pin()) {
            (Some(name), _) => name.to_string(),
            (None, Some(pin)) => {
                let pin = pin.to_string();
                let digits = pin.split_once(':').map_or(pin.as_str(), |(_, digits)| digits);
                format!("{}-{}", SenderName::PIN_PREFIX, &digits[..PIN_DIGITS])
            }
            (None, None) => SenderName::UNAUTHENTICATED.to_owned(),
        }
    }

    /// Whether the sender may not send any more.
    pub fn is_withdrawn(&self) -> bool {
        self.sender.as_ref().is_some_and(|(pin, policy)| !policy.borrow().allows(*pin))
    }

    /// Waits until the sender may not send any more; for ever, where that cannot come. Cancel safe.
    pub async fn withdrawn(&self) {
        if let Some((pin, policy)) = &self.sender {
            let mut policy = policy.clone();
            if policy.wait_for(|policy| !policy.allows(*pin)).await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::super::senders::Allow;
    use super::*;

    fn pin(byte: &str) -> Pin {
        format!("sha256:{}", byte.repeat(32)).parse().unwrap()
    }

    fn named(name: &str, byte: &str) -> Allow {
        Allow::Named(name.parse().unwrap(), pin(byte))
    }

    #[tokio::test]
    async fn a_permit_lasts_as_long_as_the_policy_gives_it() {
        let policy = SenderPolicy::new([named("cam1", "01"), Allow::Pin(pin("02"))]).unwrap();
        let shared = SharedPolicy::from(policy);
        assert!(shared.permit(pin("03")).is_none());
        let (one, two) = (shared.permit(pin("01")).unwrap(), shared.permit(pin("02")).unwrap());
        assert_eq!(one.name().unwrap().as_str(), "cam1");
        assert_eq!((one.pin(), two.name()), (Some(pin("01")), None));

        let next = SenderPolicy::new([named("front", "02"), Allow::Pin(pin("03"))]).unwrap();
        let change = shared.replace(next.clone());
        let (added, removed) = (vec![pin("03")], vec![pin("01")]);
        assert_eq!(change, PolicyChange { added, removed, renamed: vec![pin("02")] });
        assert!(shared.replace(next).is_empty());
        one.withdrawn().await;
        assert!(one.is_withdrawn() && !two.is_withdrawn());
        assert!(!shared.allows(pin("01")) && shared.permit(pin("01")).is_none());
        let waits = tokio::time::timeout(std::time::Duration::ZERO, two.withdrawn());
        assert!(waits.await.is_err());
    }

    #[test]
    fn every_sender_has_a_folder_name_of_its_own() {
        let policy = SenderPolicy::new([named("cam1", "01"), Allow::Pin(pin("ab"))]).unwrap();
        let shared = SharedPolicy::from(policy);
        assert_eq!(shared.permit(pin("01")).unwrap().folder_name(), "cam1");
        let digits = format!("sha256-{}", "ab".repeat(16));
        assert_eq!(shared.permit(pin("ab")).unwrap().folder_name(), digits);
        assert!(digits.parse::<SenderName>().is_err(), "nobody can be given another's");
        assert_eq!(Permit::unauthenticated().folder_name(), "unauthenticated");
    }
}
