//! What can happen to a path, and how soon frames are to get on.

use std::fmt;
use std::time::Duration;

use anyhow::{Result, bail};
use framelane::link::Privilege;

use crate::world::{LINK, RECEIVER, Sending, Side, Stored, World, now, put_to_sleep};

/// One kind of change.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) over: &'static [&'static str],
    /// What the second link is.
    second: &'static str,
    /// Makes it happen; when it is over, as nanoseconds since 1970.
    happen: fn(&World, &Sending) -> Result<u64>,
    /// More for the sender.
    options: &'static [&'static str],
    /// Frames of each source, at 30 a second.
    frames: u64,
    /// Within which time a fresh frame is to be stored.
    pub(crate) reach: Duration,
    /// The same as a test holds it, which a busy machine must not break.
    pub(crate) bound: Duration,
    pub(crate) is_long: bool,
}

/// What was seen.
pub(crate) struct Seen {
    /// From the change until a frame was stored that fell due after it.
    pub(crate) fresh: Duration,
    /// The longest that a frame took that fell due around the change or later.
    pub(crate) latest: Duration,
    /// From the change until frames are in time again.
    pub(crate) in_time: Duration,
    pub(crate) paths: Vec<String>,
}

/// Frames that take longer are not in time: an undisturbed one takes 38 ms.
const IN_TIME: Duration = Duration::from_millis(60);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const BOTH: &[&str] = &["quic", "tcp"];
const EITHER: &[&str] = &["auto", "tcp"];

pub(crate) const ROWS: [Row; 15] = [
    Row {
        name: "nothing",
        over: EITHER,
        second: LINK,
        happen: |_, _| Ok(now()),
        options: &[],
        frames: 90,
        reach: ms(75),
        bound: ms(4_000),
        is_long: true,
    },
    Row {
        name: "NAT gives another port",
        over: EITHER,
        second: LINK,
        happen: |world, _| world.links.forget_mappings(0).map(|()| now()).map_err(Into::into),
        options: &[],
        frames: 90,
        reach: ms(113),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the sender's address changes",
        over: EITHER,
        second: LINK,
        happen: |world, _| {
            world.ip(Side::Near, "addr add 198.18.0.9/32 dev link")?;
            world.ip(Side::Far, "route add 198.18.0.9/32 dev link")?;
            let when = now();
            world.ip(Side::Near, "addr del 198.18.0.1/30 dev link")?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(125),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the route moves to another interface, the old path is cut",
        over: EITHER,
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.link(0, "loss=100%")?;
            world.ip(Side::Near, &format!("route del {RECEIVER}/32 dev link metric 10"))?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(125),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the interface goes down, another takes over",
        over: EITHER,
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.ip(Side::Near, "link set dev link down")?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(125),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the path swallows, nothing is said, another interface exists",
        over: EITHER,
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.link(0, "loss=100%")?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(250),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "of two links that are named the first swallows for 4 s",
        over: &["auto"],
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.link(0, "loss=100%")?;
            std::thread::sleep(Duration::from_secs(4));
            world.link(0, LINK)?;
            Ok(when)
        },
        options: &["--via", "link", "--via", "198.18.1.1"],
        frames: 270,
        reach: ms(250),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "packets over 1,280 bytes vanish",
        over: BOTH,
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.link(0, &format!("{LINK},mtu=1280"))?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(300),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the sender's interface goes to an MTU of 1,280",
        over: BOTH,
        second: LINK,
        happen: |world, _| {
            let when = now();
            world.ip(Side::Near, "link set dev link mtu 1280")?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(300),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the route moves to a path of 1,280 bytes",
        over: EITHER,
        second: "rate=50mbit,delay=25ms,queue=50ms,mtu=1280",
        happen: |world, _| {
            let when = now();
            world.link(0, "loss=100%")?;
            world.ip(Side::Near, &format!("route del {RECEIVER}/32 dev link metric 10"))?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(300),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the route moves to a path of 1,230 bytes",
        over: EITHER,
        second: "rate=50mbit,delay=25ms,queue=50ms,mtu=1230",
        happen: |world, _| {
            let when = now();
            world.link(0, "loss=100%")?;
            world.ip(Side::Near, &format!("route del {RECEIVER}/32 dev link metric 10"))?;
            Ok(when)
        },
        options: &[],
        frames: 90,
        reach: ms(300),
        bound: ms(8_000),
        is_long: false,
    },
    Row {
        name: "the only interface is down for 20 s",
        over: EITHER,
        second: "loss=100%",
        happen: |world, _| is_down(world, 20),
        options: &[],
        frames: 900,
        reach: ms(175),
        bound: ms(4_000),
        is_long: true,
    },
    Row {
        name: "the only interface is down for 70 s",
        over: EITHER,
        second: "loss=100%",
        happen: |world, _| is_down(world, 70),
        options: &[],
        frames: 2_400,
        reach: ms(175),
        bound: ms(4_000),
        is_long: true,
    },
    Row {
        name: "the sender sleeps for 60 s",
        over: EITHER,
        second: LINK,
        happen: |_, sending| put_to_sleep(sending.id(), Duration::from_secs(60)).map(|()| now()),
        options: &[],
        frames: 2_100,
        reach: ms(175),
        bound: ms(4_000),
        is_long: true,
    },
    Row {
        name: "the receiver sleeps for 60 s",
        over: EITHER,
        second: LINK,
        happen: |world, _| {
            let receiver = world.receiver().unwrap();
            put_to_sleep(receiver, Duration::from_secs(60)).map(|()| now())
        },
        options: &[],
        frames: 2_100,
        reach: ms(175),
        bound: ms(4_000),
        is_long: true,
    },
];

/// The only way is away for so many seconds.
fn is_down(world: &World, seconds: u64) -> Result<u64> {
    world.ip(Side::Near, &format!("route del {RECEIVER}/32 dev link1 metric 20"))?;
    world.ip(Side::Near, "link set dev link down")?;
    std::thread::sleep(Duration::from_secs(seconds));
    world.ip(Side::Near, "link set dev link up")?;
    world.ip(Side::Near, &format!("route add {RECEIVER}/32 dev link metric 10"))?;
    Ok(now())
}

impl Row {
    /// Runs it. Where this machine is so busy that all frames were gone before it happened, with more of them.
    pub(crate) fn run(&self, privilege: Privilege, over: &str) -> Result<Seen> {
        for frames in [self.frames, 3 * self.frames] {
            if let Some(seen) = self.run_with(frames, privilege, over)? {
                return Ok(seen);
            }
        }
        bail!("no frame of {} fell due after it: this machine is too busy", 3 * self.frames)
    }

    fn run_with(&self, frames: u64, privilege: Privilege, over: &str) -> Result<Option<Seen>> {
        let mut world = World::new(privilege, LINK, self.second)?;
        let options = [&["--transport", over, "--retry-for", "120s"], self.options].concat();
        let sending = world.send(frames, &options)?;
        let when = (self.happen)(&world, &sending)?;
        let (stored, paths) = world.finish(sending)?;
        if std::env::var_os("FRAMELANE_TEST_VERBOSE").is_some() {
            eprintln!("{}", world.said());
            dump(&stored);
        }
        Ok(seen(&stored, when, paths))
    }
}

/// When each frame fell due, counted from the first, and how late it was, in milliseconds.
pub(crate) fn dump(stored: &[Stored]) {
    let begun = stored.first().map_or(0, |frame| frame.due);
    for frame in stored {
        let took = frame.received.saturating_sub(frame.due) / 1_000_000;
        eprintln!("{} {took}", (frame.due - begun) / 1_000_000);
    }
}

/// `None` where no frame fell due after `when`.
fn seen(stored: &[Stored], when: u64, paths: Vec<String>) -> Option<Seen> {
    let since = |at: u64| Duration::from_nanos(at.saturating_sub(when));
    let took = |frame: &Stored| Duration::from_nanos(frame.received.saturating_sub(frame.due));
    let after = || stored.iter().filter(|frame| frame.due >= when);
    let fresh = after().map(|frame| since(frame.received)).min()?;
    // A round trip before it a frame may have been under way.
    let around = stored.iter().filter(|frame| frame.due + 100_000_000 >= when);
    let late = around.clone().filter(|frame| took(frame) > IN_TIME);
    Some(Seen {
        fresh,
        latest: around.map(took).max().unwrap_or_default(),
        in_time: late.map(|frame| since(frame.received)).max().unwrap_or_default(),
        paths,
    })
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fresh, latest, in_time, paths } = self;
        write!(
            f,
            "first fresh frame after {} ms, latest {} ms, in time after {} ms; {}",
            fresh.as_millis(),
            latest.as_millis(),
            in_time.as_millis(),
            paths.join(", then ")
        )
    }
}
