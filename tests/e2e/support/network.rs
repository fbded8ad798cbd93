//! Two machines in namespaces of their own, with links between them that can be changed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Place, skipped};

/// Two network namespaces, `near` and `far`, without links at first. They end with this.
pub(crate) struct Network {
    near: Child,
    far: Child,
}

/// One of the two machines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Side {
    Near,
    Far,
}

impl Network {
    /// Makes them; `None`, said visibly, where this machine does not let one, or has no `ip`.
    pub(crate) fn new() -> Option<Self> {
        let near = hold(Command::new("unshare").args(["--user", "--map-root-user", "--net"]));
        let Some(near) = near else {
            skipped("this machine gives nobody a network namespace of their own");
            return None;
        };
        let user = near.id().to_string();
        let far = hold(Command::new("nsenter").args(["-t", &user, "-U", "--", "unshare", "--net"]));
        let Some(far) = far else {
            end(near);
            skipped("this machine gives nobody a second network namespace");
            return None;
        };
        let network = Self { near, far };
        let works = [Side::Near, Side::Far].map(|side| network.ip(side, "link set lo up"));
        if works.contains(&false) {
            skipped("there is no `ip` to make links with");
            return None;
        }
        Some(network)
    }

    /// A link between the two: `name` with `near` as its address here, `far` there. Packets are not joined on
    /// the way, so that the link's MTU counts.
    pub(crate) fn link(&self, name: &str, near: &str, far: &str) {
        let there = self.far.id();
        let single = "gso_max_segs 1 gso_max_size 1500";
        for (side, command) in [
            (Side::Near, format!("link add {name} type veth peer name {name} netns {there}")),
            (Side::Near, format!("link set {name} {single}")),
            (Side::Far, format!("link set {name} {single}")),
            (Side::Near, format!("addr add {near} dev {name}")),
            (Side::Far, format!("addr add {far} dev {name}")),
            (Side::Near, format!("link set {name} up")),
            (Side::Far, format!("link set {name} up")),
        ] {
            assert!(self.ip(side, &command), "ip {command}");
        }
    }

    /// Runs `ip` there; false where it fails.
    pub(crate) fn ip(&self, side: Side, arguments: &str) -> bool {
        let mut command = self.inside(side, Command::new("ip").args(arguments.split(' ')));
        command.output().is_ok_and(|output| {
            let said = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                eprintln!("ip {arguments}: {said}");
            }
            output.status.success()
        })
    }

    /// Bytes that a link has carried both ways, as the kernel counts them.
    pub(crate) fn carried(&self, side: Side, link: &str) -> u64 {
        let text = self.read(side, "/proc/net/dev");
        let name = format!("{link}:");
        let line = text.lines().find_map(|line| line.trim().strip_prefix(&name)).unwrap();
        let columns: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap()).collect();
        columns[0] + columns[8]
    }

    /// What the kernel counts there under a name, of a protocol.
    pub(crate) fn counted(&self, side: Side, protocol: &str, name: &str) -> u64 {
        let text = self.read(side, "/proc/net/snmp");
        let prefix = format!("{protocol}: ");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(&prefix));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let place = names.split_whitespace().position(|other| other == name).unwrap();
        values.split_whitespace().nth(place).unwrap().parse().unwrap()
    }

    fn read(&self, side: Side, path: &str) -> String {
        let mut command = self.inside(side, Command::new("cat").arg(path));
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    }

    /// framelane, in a place and on one of the machines.
    pub(crate) fn command(&self, side: Side, place: &Place, args: &[&str]) -> Command {
        self.inside(side, &place.command(args))
    }

    fn inside(&self, side: Side, command: &Command) -> Command {
        let holder = match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        };
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &holder.id().to_string(), "-U", "-n", "--preserve-credentials", "--"]);
        inside.arg(command.get_program()).args(command.get_args());
        if let Some(folder) = command.get_current_dir() {
            inside.current_dir(folder);
        }
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for holder in [&mut self.near, &mut self.far] {
            let _ = holder.kill();
            let _ = holder.wait();
        }
    }
}

/// Starts what enters a namespace and stays there until it is ended; `None` where it is not let in.
fn hold(command: &mut Command) -> Option<Child> {
    command.args(["sh", "-c", "echo in; read ending"]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.ok()?;
    let mut line = String::new();
    let output = child.stdout.take()?;
    if BufReader::new(output).read_line(&mut line).is_ok_and(|read| read > 0) {
        return Some(child);
    }
    end(child);
    None
}

fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}
