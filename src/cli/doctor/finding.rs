//! What was found, as text and as JSON, and the sentence that it comes to.

use serde::Serialize;

use super::answer::{Answer, State, milliseconds};
use crate::compare::remote::ClockOffset;

/// A share of lost packets from which they are felt.
const LOSSY: f64 = 0.002;

/// A rate that few links have: what limits then is a machine.
const FAST_MBIT: f64 = 900.0;

/// Queueing that is felt: under load a round trip is this much longer, and half as long again.
const QUEUE_MS: f64 = 30.0;

/// What was found out about a receiver and the way to it.
#[derive(Debug, Default, Serialize)]
pub(super) struct Finding {
    receiver: String,
    /// This machine's pin, by which the receiver knows it.
    own_pin: String,
    /// True where frames can be sent there now.
    pub(super) can_send: bool,
    /// Whether the receiver lets this machine in, as far as it came to that.
    allowed: Option<bool>,
    pub(super) addresses: Vec<Address>,
    pub(super) transport: Option<String>,
    pub(super) measured_with: Option<String>,
    #[serde(flatten)]
    measured: Option<Measured>,
    /// Whether `compare --to` would tell more: it needs both transports.
    compare: bool,
    /// What limits, or what is wrong.
    verdict: String,
    /// What to do next.
    next: String,
}

/// An address, and what answers there.
#[derive(Debug, Serialize)]
pub(super) struct Address {
    pub(super) address: String,
    pub(super) udp: Answer,
    pub(super) tcp: Answer,
}

/// Figures of a trial.
#[derive(Debug, Default, Serialize)]
pub(super) struct Measured {
    /// The receiver's software and version.
    pub(super) agent: String,
    /// For how long the link was filled.
    pub(super) seconds: f64,
    /// Bytes of frames that arrived in that time.
    pub(super) bytes: u64,
    pub(super) rate_mbit: Option<f64>,
    /// Without load, and with it.
    pub(super) rtt_ms: Option<f64>,
    pub(super) loaded_rtt_ms: Option<f64>,
    /// Share of packets lost.
    pub(super) loss: Option<f64>,
    /// The longest UDP payload that is known to get through.
    pub(super) datagram: Option<u16>,
    /// The longest packet that gets there whole, headers included; [`LONGEST`](super::mtu::LONGEST) where that does, and
    /// perhaps longer ones.
    pub(super) path_mtu: Option<u16>,
    /// The receiver's clock beside this one.
    pub(super) clock: Option<ClockOffset>,
}

impl Finding {
    pub(super) fn new(receiver: String, own_pin: String) -> Self {
        Self { receiver, own_pin, ..Self::default() }
    }

    pub(super) fn measured(&mut self, measured: Measured) {
        self.can_send = true;
        self.measured = Some(measured);
    }

    /// There is no way, and this is why.
    pub(super) fn unreachable(&mut self, why: &str) {
        why.clone_into(&mut self.verdict);
    }

    /// The receiver is there and has no room.
    pub(super) fn full(&mut self, why: &str) {
        self.verdict =
            format!("the receiver is there and lets this machine in, but has no room now: {why}");
        "try again later; a sender does so by itself".clone_into(&mut self.next);
    }

    /// It cannot be measured, and can be sent to.
    pub(super) fn older(&mut self, why: &str) {
        self.can_send = true;
        why.clone_into(&mut self.verdict);
    }

    /// Draws the conclusion from what is there.
    pub(super) fn conclude(&mut self) {
        let answers = || self.addresses.iter().flat_map(|address| [&address.udp, &address.tcp]);
        let has = |state| answers().any(|answer| answer.state == state);
        let session = |of: fn(&Address) -> &Answer| {
            let can_be_had = |answer: &Answer| answer.is_session() || answer.state == State::Older;
            self.addresses.iter().any(|address| can_be_had(of(address)))
        };
        let (udp, tcp) = (session(|address| &address.udp), session(|address| &address.tcp));
        self.allowed = match (udp || tcp, has(State::Refused)) {
            (true, _) => Some(true),
            (false, true) => Some(false),
            _ => None,
        };
        self.compare = udp && tcp && !has(State::Older);
        let why = |state| {
            answers().find(|answer| answer.state == state).and_then(|answer| answer.why.clone())
        };
        if self.verdict.is_empty() {
            (self.verdict, self.next) = match &self.measured {
                Some(measured) => (measured.limit(udp), self.advice(udp, tcp)),
                None => nothing(&why),
            };
        }
        if self.next.is_empty() && self.can_send {
            self.next = self.advice(udp, tcp);
        }
    }

    fn advice(&self, udp: bool, tcp: bool) -> String {
        let receiver = &self.receiver;
        let loss = self.measured.as_ref().and_then(|measured| measured.loss);
        let is_older = |answer: &Answer| answer.state == State::Older;
        let has_older =
            self.addresses.iter().any(|address| is_older(&address.udp) || is_older(&address.tcp));
        match (udp, tcp) {
            _ if has_older => "send as usual".to_owned(),
            (true, true) if loss.is_none() => "both ways are open: send as usual".to_owned(),
            (true, true) if loss.is_some_and(|loss| loss >= LOSSY) => format!(
                "`framelane compare --to {receiver}` shows what QUIC gains over TCP on this link, frame by frame"
            ),
            (true, true) => "both ways are open, and nothing is lost: QUIC and TCP will do alike; compare --to would \
                             show little"
                .to_owned(),
            (true, false) => format!(
                "send as usual; for `compare --to {receiver}`, or a way around blocked UDP, start the receiver with \
                 --transport quic --transport tcp"
            ),
            (false, true) => "UDP does not get through: send with --transport tcp, or let the port through for UDP, which \
                              is better where packets are lost"
                .to_owned(),
            (false, false) => "send as usual".to_owned(),
        }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut lines = Vec::new();
        for address in &self.addresses {
            lines.push(address.address.clone());
            for (name, answer) in [("UDP (quic)", &address.udp), ("TCP (tcp)", &address.tcp)] {
                lines.push(format!("  {name:11}{}", answer.words()));
            }
        }
        let allowed = match self.allowed {
            Some(true) => "the receiver lets it in",
            Some(false) => "not let in, or the receiver is not trusted: see below",
            None => "whether the receiver lets it in was not to be asked",
        };
        lines.push(format!("own pin     {} ({allowed})", self.own_pin));
        if let Some(measured) = &self.measured {
            lines.extend(measured.lines(self.transport.as_deref(), self.measured_with.as_deref()));
        }
        lines.push(self.verdict.clone());
        if !self.next.is_empty() {
            lines.push(format!("next: {}", self.next));
        }
        lines.join("\n")
    }
}

/// Where nothing could be measured: the answer that says the most.
fn nothing(why: &impl Fn(State) -> Option<String>) -> (String, String) {
    for (state, next) in [
        (State::Refused, "the network is well: it is about trust. Do what it says, and look again"),
        (State::Full, "the network is well, and the receiver has no room: try again later"),
        (
            State::Other,
            "something else answers there, or another version of framelane: is the port right?",
        ),
        (
            State::Closed,
            "the machine is there, and nothing listens: start `framelane receive` on this port",
        ),
        (
            State::Silent,
            "nothing answers: is the machine on, the address right, and the port let through by its firewall (UDP and \
             TCP)?",
        ),
        (
            State::NoRoute,
            "this machine has no way there: is its network up, and the address right?",
        ),
    ] {
        if let Some(why) = why(state) {
            return (why, next.to_owned());
        }
    }
    ("nothing was tried".to_owned(), String::new())
}

impl Measured {
    fn lines(&self, transport: Option<&str>, address: Option<&str>) -> Vec<String> {
        let mut lines = vec![format!(
            "measured    over {} with {}, {}",
            transport.unwrap_or("?"),
            address.unwrap_or("?"),
            self.agent
        )];
        if let Some(rtt) = self.rtt_ms {
            let loaded = self
                .loaded_rtt_ms
                .map_or_else(String::new, |rtt| format!(", {} under load", milliseconds(rtt)));
            lines.push(format!("round trip  {}{loaded}", milliseconds(rtt)));
        }
        if let Some(rate) = self.rate_mbit {
            lines.push(format!("rate        {rate:.1} Mbit/s of frames, in {:.0} s", self.seconds));
        }
        if let Some(loss) = self.loss {
            lines.push(format!("loss        {:.2} % of packets", loss * 1e2));
        }
        if let Some(datagram) = self.datagram {
            lines.push(format!("packets     {datagram} bytes of UDP payload get through"));
        }
        match self.path_mtu {
            Some(longest @ super::mtu::LONGEST) => {
                lines.push(format!("path MTU    {longest} bytes or more get there whole"));
            }
            Some(longest) => lines.push(format!(
                "path MTU    {longest} bytes, headers included: longer packets do not get there whole"
            )),
            None => {}
        }
        if let Some(ClockOffset { offset_ms, error_ms, .. }) = self.clock {
            let (size, side) = (
                milliseconds(offset_ms.abs()),
                if offset_ms < 0.0 { "behind" } else { "ahead of" },
            );
            lines.push(format!(
                "clock       the receiver's is {size} {side} this one, give or take {}",
                milliseconds(error_ms)
            ));
        }
        lines
    }

    /// One sentence on what limits.
    fn limit(&self, udp: bool) -> String {
        let Some(rate) = self.rate_mbit else {
            return "frames can be sent; the rate was not measured".to_owned();
        };
        let frames = rate * 1e6 / 8.0 / 60_000.0;
        let carries = format!("{rate:.1} Mbit/s, some {frames:.0} frames of 60 kB a second");
        let queue = self.rtt_ms.zip(self.loaded_rtt_ms).map(|(idle, loaded)| (loaded - idle, idle));
        match (self.loss, queue) {
            _ if rate >= FAST_MBIT => {
                format!("nothing on the way limits before the machines do: {carries}")
            }
            (Some(loss), _) if loss >= LOSSY => format!(
                "the link carries {carries}, and loses {:.1} % of the packets: that is what delays frames, and what repair \
                 and QUIC are for",
                loss * 1e2
            ),
            (_, Some((queue, idle))) if queue > QUEUE_MS && queue > idle / 2.0 => format!(
                "the link's rate limits: it carries {carries}; whoever sends more waits in a queue on the way ({} more \
                 under load)",
                milliseconds(queue)
            ),
            _ if !udp => format!("over TCP the link carries {carries}"),
            _ => format!(
                "the link's rate limits: it carries {carries}, without loss or queue worth mention"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(udp: Answer, tcp: Answer) -> Finding {
        let mut found = Finding::new("store:4433".to_owned(), "sha256:00".to_owned());
        found.addresses = vec![Address { address: "192.0.2.1:4433".to_owned(), udp, tcp }];
        found
    }

    #[test]
    fn an_earlier_version_can_be_sent_to_and_is_not_called_something_else() {
        let older = || Answer::of(State::Older, "the receiver is of an earlier version");
        for tcp in [older(), Answer::of(State::Closed, "nothing listens")] {
            let mut found = found(older(), tcp);
            found.older("the receiver is of an earlier version");
            found.conclude();
            let text = found.text();
            assert!(found.can_send && !found.compare && found.allowed == Some(true), "{text}");
            assert!(
                text.contains("earlier version") && text.contains("next: send as usual"),
                "{text}"
            );
            assert!(!text.contains("port right") && !text.contains("not to be asked"), "{text}");
        }
    }

    #[test]
    fn what_is_pointed_at_is_there() {
        let refused = || Answer::of(State::Refused, "pass --pin sha256:11");
        let mut found = found(refused(), refused());
        found.conclude();
        let text = found.text();
        let (pointer, target) = (text.find("see below"), text.find("pass --pin"));
        assert!(pointer.is_some() && pointer < target, "{text}");
        assert_eq!(Answer::not_tried().words(), "not tried");
    }
}
