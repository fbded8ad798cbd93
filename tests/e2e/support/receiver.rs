//! A running `framelane receive`.

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;

use super::{Finished, Place, Process, Relay, Signal};

/// A receiver that listens.
pub(crate) struct Receiver<'a> {
    place: &'a Place,
    process: Process,
    /// Where, in the order in which it said so.
    pub(crate) addresses: Vec<SocketAddr>,
}

impl<'a> Receiver<'a> {
    /// Starts one that stores to the place's store, and waits until it listens.
    pub(crate) fn start(place: &'a Place, args: &[&str]) -> Self {
        Self::of(place, Process::start(place.command(&Self::arguments(args))), 1)
    }

    /// The same for several transports, which say `count` addresses.
    pub(crate) fn start_several(place: &'a Place, args: &[&str], count: usize) -> Self {
        Self::of(place, Process::start(place.command(&Self::arguments(args))), count)
    }

    /// The arguments of a receiver in a place, those completed that are not given.
    pub(crate) fn arguments<'b>(args: &[&'b str]) -> Vec<&'b str> {
        let defaults = [("--out", "store"), ("--certs", "receiver"), ("--listen", "127.0.0.1:0")];
        complete(&["receive"], args, &defaults)
    }

    /// Waits until a started receiver has said `count` addresses.
    pub(crate) fn of(place: &'a Place, process: Process, count: usize) -> Self {
        let mut addresses: Vec<SocketAddr> = Vec::new();
        while addresses.len() < count {
            let next = process.stdout_line(|line| {
                let address = line.strip_prefix("listening on ")?.split(' ').next()?;
                address.parse().ok().filter(|address| !addresses.contains(address))
            });
            addresses.push(next);
        }
        Self { place, process, addresses }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Sends sources to it, with its pin, over QUIC if `args` name nothing else.
    pub(crate) fn send(&self, sources: &[&str], args: &[&str]) -> Finished {
        self.sending(sources, args).finish()
    }

    /// Sends sources to it over a relay.
    pub(crate) fn send_over(&self, relay: &Relay, sources: &[&str], args: &[&str]) -> Finished {
        self.sending_to(relay.address(), sources, args).finish()
    }

    /// Starts sending.
    pub(crate) fn sending(&self, sources: &[&str], args: &[&str]) -> Process {
        self.sending_to(self.address(), sources, args)
    }

    /// Starts sending over a relay.
    pub(crate) fn sending_over(&self, relay: &Relay, sources: &[&str], args: &[&str]) -> Process {
        self.sending_to(relay.address(), sources, args)
    }

    /// Sends what is on a sender's standard input, and maybe more.
    pub(crate) fn send_reading(&self, stdin: File, sources: &[&str], args: &[&str]) -> Finished {
        Process::start_reading(self.command(self.address(), sources, args), stdin).finish()
    }

    fn sending_to(&self, address: SocketAddr, sources: &[&str], args: &[&str]) -> Process {
        Process::start(self.command(address, sources, args))
    }

    fn command(&self, address: SocketAddr, sources: &[&str], args: &[&str]) -> Command {
        let (address, pin) = (address.to_string(), self.place.pin("receiver"));
        let first = [&["send", address.as_str()], sources].concat();
        let mut defaults = vec![("--certs", "sender"), ("--pin", pin.as_str())];
        if args.contains(&"stop-and-wait") {
            // It protects nothing there, and is refused.
            defaults.pop();
        }
        self.place.command(&complete(&first, args, &defaults))
    }

    /// Sends a new source, as any good sender would, and checks that all of it is stored.
    #[track_caller]
    pub(crate) fn assert_serves(&self, args: &[&str]) {
        self.place.frames("good", 3, 5_000);
        self.send(&["good"], args).expect(0).prints("missing 0");
        self.place.assert_stored("good");
    }

    /// Ends it as Ctrl-C does.
    pub(crate) fn interrupt(self) -> Finished {
        self.process.signal(Signal::INT);
        self.process.finish()
    }

    /// Waits until it ends by itself.
    pub(crate) fn finish(self) -> Finished {
        self.process.finish()
    }
}

/// A command line of which `args` are given and the defaults fill in the rest.
fn complete<'a>(
    first: &[&'a str],
    args: &[&'a str],
    defaults: &[(&'a str, &'a str)],
) -> Vec<&'a str> {
    let mut all = [first, args].concat();
    for (option, value) in defaults {
        if !args.contains(option) {
            all.extend([option, value]);
        }
    }
    all
}
