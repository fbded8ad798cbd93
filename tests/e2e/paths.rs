//! Paths that change or swallow packets, between two machines in namespaces.

use std::time::{Duration, Instant};

use crate::support::{Network, Place, Process, Receiver, Side};

/// A receiver on the far machine.
fn receiver<'a>(
    network: &Network,
    place: &'a Place,
    transport: &str,
    listen: &str,
) -> Receiver<'a> {
    let args = ["--transport", transport, "--listen", listen, "--allow", "any"];
    let args = Receiver::arguments(&args);
    Receiver::of(place, Process::start(network.command(Side::Far, place, &args)), 1)
}

/// A sender on the near machine.
fn sender(network: &Network, place: &Place, to: &str, args: &[&str]) -> Process {
    let pin = place.pin("receiver");
    let all = [&["send", to, "visible", "--certs", "sender", "--pin", &pin], args].concat();
    Process::start(network.command(Side::Near, place, &all))
}

#[test]
fn no_route_is_told_at_once() {
    let Some(network) = Network::new() else { return };
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    for transport in ["auto", "quic", "tcp"] {
        let began = Instant::now();
        let args = ["--transport", transport, "--retry-for", "0s"];
        sender(&network, &place, "192.0.2.1:4433", &args)
            .finish()
            .expect(1)
            .says("unreachable")
            .says("no route leads there now");
        assert!(began.elapsed() < Duration::from_secs(6), "{transport}: {:?}", began.elapsed());
    }
}

#[test]
fn an_address_of_one_link_is_reached_by_the_links_name_and_number() {
    let Some(network) = Network::new() else { return };
    network.link("w0", "fe80::a/64", "fe80::b/64");
    for side in [Side::Near, Side::Far] {
        // So that the addresses can be used at once.
        network.ip(side, "addr flush dev w0");
    }
    assert!(network.ip(Side::Near, "addr add fe80::a/64 dev w0 nodad"));
    assert!(network.ip(Side::Far, "addr add fe80::b/64 dev w0 nodad"));
    for (number, zone) in ["w0", "w0"].iter().enumerate() {
        let place = Place::new();
        place.frames("visible", 2, 1_000);
        let transport = ["quic", "tcp"][number];
        let receiver = receiver(&network, &place, transport, &format!("[fe80::b%{zone}]:0"));
        let port = receiver.address().port();
        let line = receiver
            .process()
            .stderr_line(|line| line.contains("framelane send").then(|| line.to_owned()));
        assert!(line.contains("[fe80::b%"), "{line}");
        let args = ["--transport", transport];
        let to = format!("[fe80::b%{zone}]:{port}");
        sender(&network, &place, &to, &args).finish().expect(0).prints("missing 0");
        place.assert_stored("visible");
    }
}

#[test]
fn without_a_default_route_the_address_of_each_link_is_named() {
    let Some(network) = Network::new() else { return };
    network.link("w0", "10.7.0.1/24", "10.7.0.2/24");
    network.link("w1", "10.8.0.1/24", "10.8.0.2/24");
    let place = Place::new();
    let receiver = receiver(&network, &place, "quic", "0.0.0.0:0");
    for address in ["10.7.0.2:", "10.8.0.2:"] {
        receiver
            .process()
            .stderr_line(|line| line.contains(&format!("framelane send {address}")).then_some(()));
    }
}

#[test]
fn over_tcp_packets_that_are_too_long_for_the_way_are_replaced_by_shorter_ones() {
    for transport in ["tcp", "tcp-per-frame"] {
        let Some(network) = Network::new() else { return };
        network.link("w0", "10.7.0.1/24", "10.7.0.2/24");
        // The far end takes no more, and a link of this kind does not say so: longer packets vanish.
        assert!(network.ip(Side::Far, "link set w0 mtu 1280"));
        // Without this the far end's announcement of its own segments would keep them short enough.
        assert!(network.ip(Side::Far, "route change 10.7.0.0/24 dev w0 src 10.7.0.2 advmss 1460"));
        let place = Place::new();
        place.frames("visible", 20, 60_000);
        let receiver = receiver(&network, &place, transport, "10.7.0.2:0");
        let began = Instant::now();
        let args = ["--transport", transport, "--retry-for", "5s"];
        let sent = sender(&network, &place, &receiver.address().to_string(), &args).finish();
        let sent = sent.expect(0).prints("missing 0");
        if transport == "tcp" {
            sent.says("smaller MTU");
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{transport}: {:?}", began.elapsed());
        place.assert_stored("visible");
    }
}

#[test]
fn over_tcp_an_address_that_goes_away_is_noticed_at_once() {
    let Some(network) = Network::new() else { return };
    network.link("w0", "10.7.0.1/24", "10.7.0.2/24");
    network.link("w1", "10.8.0.1/24", "10.8.0.2/24");
    // The receiver is behind both links, at an address of neither.
    assert!(network.ip(Side::Far, "addr add 10.9.0.1/32 dev lo"));
    assert!(network.ip(Side::Near, "route add 10.9.0.1/32 via 10.7.0.2 metric 1"));
    assert!(network.ip(Side::Near, "route add 10.9.0.1/32 via 10.8.0.2 metric 2"));
    let place = Place::new();
    place.frames("visible", 120, 20_000);
    let receiver = receiver(&network, &place, "tcp", "10.9.0.1:0");
    let to = receiver.address().to_string();
    let sending = sender(&network, &place, &to, &["--transport", "tcp", "--fps", "20"]);
    place.wait_for_frames("visible", 20);
    let began = Instant::now();
    assert!(network.ip(Side::Near, "addr del 10.7.0.1/24 dev w0"));
    sending.finish().expect(0).prints("missing 0").says("10.7.0.1 is gone");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    place.assert_stored("visible");
}

#[test]
fn over_tcp_a_route_that_moves_is_followed() {
    let Some(network) = Network::new() else { return };
    network.link("w0", "10.7.0.1/24", "10.7.0.2/24");
    network.link("w1", "10.8.0.1/24", "10.8.0.2/24");
    assert!(network.ip(Side::Far, "addr add 10.9.0.1/32 dev lo"));
    assert!(network.ip(Side::Near, "route add 10.9.0.1/32 via 10.7.0.2"));
    let place = Place::new();
    place.frames("visible", 120, 20_000);
    let receiver = receiver(&network, &place, "tcp", "10.9.0.1:0");
    let to = receiver.address().to_string();
    let sending = sender(&network, &place, &to, &["--transport", "tcp", "--fps", "20"]);
    place.wait_for_frames("visible", 20);
    let began = Instant::now();
    // Nothing from the old address comes back any more, though the address is still there.
    assert!(network.ip(Side::Far, "route del 10.7.0.0/24 dev w0"));
    assert!(network.ip(Side::Near, "route change 10.9.0.1/32 via 10.8.0.2"));
    sending.finish().expect(0).prints("missing 0").says("another connection comes through");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    place.assert_stored("visible");
}

/// Two links between the machines, and a receiver behind both, at an address of neither.
fn two_links() -> Option<Network> {
    let network = Network::new()?;
    network.link("w0", "10.7.0.1/24", "10.7.0.2/24");
    network.link("w1", "10.8.0.1/24", "10.8.0.2/24");
    assert!(network.ip(Side::Far, "addr add 10.9.0.1/32 dev lo"));
    assert!(network.ip(Side::Near, "route add 10.9.0.1/32 via 10.7.0.2 metric 1"));
    assert!(network.ip(Side::Near, "route add 10.9.0.1/32 via 10.8.0.2 metric 2"));
    Some(network)
}

/// A receiver of both transports behind two links.
fn behind_both<'a>(network: &Network, place: &'a Place) -> Receiver<'a> {
    let args = Receiver::arguments(&["--listen", "10.9.0.1:0", "--allow", "any"]);
    Receiver::of(place, Process::start(network.command(Side::Far, place, &args)), 1)
}

/// What the file has of a link that counts data over runs.
fn counted(place: &Place, link: &str) -> u64 {
    let text = std::fs::read_to_string(place.path("config/framelane/data-used")).unwrap();
    let line = text.lines().find(|line| line.starts_with(&format!("{link} day "))).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn a_data_cap_is_kept_over_runs_and_what_is_over_it_goes_over_the_other_link() {
    const CAP: u64 = 6_000_000;
    let Some(network) = two_links() else { return };
    let place = Place::new();
    place.frames("visible", 300, 60_000);
    let receiver = behind_both(&network, &place);
    let to = receiver.address().to_string();
    // Three times as much as may go over it, and no other link.
    let alone = ["--via", "w0,max=6MB/day", "--retry-for", "1s"];
    let told = "the data of w0 (6.0 MB a day) is used up";
    sender(&network, &place, &to, &alone).finish().expect(1).says(told);
    let said = counted(&place, "w0");
    let carried = network.carried(Side::Near, "w0");
    assert!(
        carried > CAP / 2 && carried <= CAP,
        "{carried} bytes over w0, and {said} by its meter"
    );
    assert!(
        said <= CAP && said * 21 / 20 >= carried,
        "{carried} bytes over w0, and {said} by its meter"
    );
    // Another run of the same day has next to nothing left there: what is over it goes over the other link.
    let both = ["--via", "w0,max=6MB/day", "--via", "w1", "--paths", "spread"];
    sender(&network, &place, &to, &both).finish().expect(0).prints("missing 0");
    place.assert_stored("visible");
    let carried = network.carried(Side::Near, "w0");
    assert!(carried <= CAP + CAP / 20, "{carried} bytes over w0");
}

#[test]
fn each_link_has_a_transport_of_its_own() {
    let Some(network) = two_links() else { return };
    let place = Place::new();
    place.frames("visible", 60, 20_000);
    let receiver = behind_both(&network, &place);
    let to = receiver.address().to_string();
    let args = ["--via", "w0,transport=tcp", "--via", "w1,transport=quic", "--fps", "30", "-v"];
    sender(&network, &place, &to, &args).finish().expect(0).prints("missing 0");
    place.assert_stored("visible");
    let tcp = network.counted(Side::Far, "Tcp", "InSegs");
    let udp = network.counted(Side::Far, "Udp", "InDatagrams");
    assert!(tcp > 10 && udp > 10, "{tcp} segments and {udp} datagrams came");
    assert!(
        network.carried(Side::Near, "w0") > 100_000 && network.carried(Side::Near, "w1") > 100_000
    );
}

#[test]
fn what_cannot_be_kept_on_a_link_is_wrong_usage() {
    let place = Place::new();
    place.frames("visible", 1, 1_000);
    for (args, why) in [
        (&["--via", "w0,max=2GB"][..], "2GB/day"),
        (&["--via", "w0,transport=stop-and-wait"], "write auto, quic or tcp"),
        (&["--via", "w0,mtu=1280"], "unknown \"mtu\""),
        (&["--via", "w0,max=2GB/day", "--paths", "standby"], "leave max= and transport= out"),
        (&["--via", "w0", "--transport", "tcp"], "--via w0,transport=tcp"),
    ] {
        let all = [&["send", "127.0.0.1:9", "visible"][..], args].concat();
        place.run(&all).expect(2).says(why);
    }
    // Where it cannot be counted, nothing is begun that captures.
    place.file("config/framelane/data-used", b"junk\n");
    let camera = ["send", "127.0.0.1:9", "cam=cmd:touch began", "--via", "w0,max=1MB/day"];
    place.run(&camera).expect(1).says("remove it, and counting begins anew");
    assert!(!place.path("began").exists());
    // A file may say the same.
    let file = place.file("send.toml", b"[send]\nvia = [\"w0,max=2GB/week\"]\n");
    place
        .run(&["send", "127.0.0.1:9", "visible", "--config", file.to_str().unwrap()])
        .expect(2)
        .says("2GB/day");
}
