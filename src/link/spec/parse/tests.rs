use proptest::prelude::*;

use super::*;

fn link(text: &str) -> LinkSpec {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn a_link_as_people_write_it() {
    let link = link("rate=50mbit,delay=25ms,loss=2%,queue=50ms");
    assert_eq!(link.up, link.down);
    assert_eq!(link.up.rate(), Some(BitRate(50_000_000)));
    assert_eq!(link.up.one_way_delay(), Duration::from_millis(25));
    assert_eq!(link.round_trip(), Duration::from_millis(50));
    assert_eq!(link.up.mean_loss(), Share::new(0.02).unwrap());
    assert_eq!(link.up.queue_limit(), Some(ByteSize(312_500)));
    assert_eq!(link.seed, None);
}

#[test]
fn one_direction_wins_over_both_wherever_it_stands() {
    let link = link("up.loss=1%,loss=5%,down.delay=3ms,seed=9");
    assert_eq!(link.up.loss, Share::new(0.01).unwrap());
    assert_eq!(link.down.loss, Share::new(0.05).unwrap());
    assert_eq!((link.up.delay, link.down.delay), (Duration::ZERO, Duration::from_millis(3)));
    assert_eq!(link.seed, Some(9));
}

#[test]
fn a_preset_with_changes() {
    let changed = link("mesh-edge,loss=5%,up.burst=2");
    assert_eq!(changed.up.loss, Share::new(0.05).unwrap());
    assert_eq!((changed.up.burst, changed.down.burst), (Some(2.0), Some(4.0)));
    assert_eq!(changed.up.rate(), link("mesh-edge").up.rate());
    assert_eq!(changed.label, "mesh-edge,loss=5%,up.burst=2");
    assert_eq!(link("mesh-edge,loss=0%").up.burst, None);
    assert_eq!(link("lte-moving,rate=10mbit").up.rate(), Some(BitRate(10_000_000)));
    assert_eq!(link("leo,outage=1s+1s,outage=5s+1s").up.outages.len(), 2);
    assert!(link("leo,outage=none").up.outages.is_empty());
}

#[test]
fn outages_and_their_share() {
    let link = link("outage=5s+200ms,outage=0+100ms/10s,loss=10%");
    let ms = Duration::from_millis;
    let once = Outage { at: ms(5_000), lasts: ms(200), every: None };
    let again = Outage { at: ms(0), lasts: ms(100), every: Some(ms(10_000)) };
    assert_eq!(link.up.outages, [once, again]);
    let loss = link.up.mean_loss().fraction();
    assert!((loss - (1.0 - 0.9 * 0.99)).abs() < 1e-12, "{loss}");
}

#[test]
fn several_outages_may_overlap_and_none_clears_one_direction() {
    let link = link("outage=5s+2s,outage=6s+2s,outage=0s+1s/3s,up.outage=none");
    assert!(link.up.outages.is_empty());
    assert_eq!(link.down.outages.len(), 3);
    let at = |ms| link.down.up_from(Duration::from_millis(ms));
    assert_eq!(at(5_000), Some(Duration::from_secs(8)));
}

#[test]
fn every_preset_parses_and_shows_itself() {
    for preset in presets() {
        let spec = link(preset.name);
        let again = link(&spec.to_string());
        assert_eq!((&spec.up, &spec.down), (&again.up, &again.down), "{}", preset.name);
        assert!(spec.up.rate().is_some() && !preset.description.is_empty());
    }
}

#[test]
fn canonical_text() {
    for (written, shown) in [
        (
            "loss=2%, delay=25ms ,rate=50mbit,queue=312500B",
            "rate=50mbit,delay=25ms,loss=2%,queue=312500B",
        ),
        ("rate=1500kbit,queue=1.5s", "rate=1500kbit,queue=1500ms"),
        ("down.loss=7%,up.loss=0.1%,burst=4,seed=1", "up.loss=0.1%,down.loss=7%,burst=4,seed=1"),
        ("reorder=1%,outage=2s+150ms/15s", "reorder=1%+5ms,outage=2s+150ms/15s"),
        ("delay=0ms", "delay=0ms"),
        ("loss=0%", "delay=0ms"),
    ] {
        assert_eq!(link(written).to_string(), shown);
    }
}

/// What is written, and what the message must name.
const REFUSED: [(&str, &[&str]); 64] = [
    ("", &["empty", "rate=50mbit"]),
    ("  ", &["empty"]),
    ("dialup", &["dialup", "busy-wifi"]),
    ("speed=5mbit", &["\"speed\"", "rate", "up."]),
    ("sideways.rate=5mbit", &["sideways.rate"]),
    ("up.seed=5", &["up.seed"]),
    ("rate=50mbit,", &["\"\"", "keys"]),
    ("loss=2%,lan", &["lan", "first"]),
    ("loss=2%,loss", &["unknown", "\"loss\""]),
    ("loss=1%,loss=2%", &["loss", "twice"]),
    ("up.delay=1ms,up.delay=2ms", &["up.delay", "twice"]),
    ("rate=50", &["\"rate\"", "no unit", "50mbit"]),
    ("rate=0mbit", &["\"rate\"", "outage"]),
    ("rate=1bit", &["\"rate\"", "from 1 kbit/s"]),
    ("rate=-1mbit", &["\"rate\"", "zero or more"]),
    ("rate=NaNmbit", &["\"rate\"", "does not begin with a number"]),
    ("police=1bit", &["\"police\"", "from 1 kbit/s"]),
    ("mtu=100", &["\"mtu\"", "576 to 65535"]),
    ("mtu=-1", &["\"mtu\"", "576 to 65535"]),
    ("burst=NaN,loss=1%", &["\"burst\"", "between 1 and"]),
    ("loss=-5%", &["\"loss\"", "zero or more"]),
    ("delay=-5ms", &["\"delay\"", "zero or more"]),
    ("reorder=101%", &["\"reorder\"", "0% to 100%"]),
    ("rate=fast", &["\"rate\"", "number"]),
    ("rate=1000gbit", &["\"rate\"", "to 100 Gbit/s"]),
    ("delay=25", &["\"delay\"", "no unit", "delay=25ms"]),
    ("delay=-1ms", &["\"delay\"", "number"]),
    ("delay=2m", &["\"delay\"", "at most 60 s"]),
    ("loss=0.02", &["\"loss\"", "no unit", "loss=2%"]),
    ("loss=101%", &["\"loss\"", "0% to 100%"]),
    ("loss=-1%", &["\"loss\"", "number"]),
    ("up.loss=x", &["\"up.loss\""]),
    ("burst=4", &["\"burst\"", "loss=1%"]),
    ("loss=90%,burst=2", &["\"burst\"", "90 %", "9.0"]),
    ("mesh-edge,loss=90%", &["\"loss\"", "90 %", "4 packets"]),
    ("loss=1%,burst=0.5", &["\"burst\"", "between 1"]),
    ("loss=1%,burst=nan", &["\"burst\"", "between 1"]),
    ("reorder=5ms", &["\"reorder\"", "1%+5ms"]),
    ("queue=50ms", &["\"queue\"", "rate"]),
    ("rate=1mbit,queue=50", &["\"queue\"", "no unit", "312500B"]),
    ("rate=1gbit,queue=60s", &["\"queue\"", "1 GiB"]),
    ("rate=1mbit,trace=x", &["\"trace\"", "either"]),
    ("trace=/nonexistent", &["\"trace\"", "/nonexistent", "No such file"]),
    ("outage=5s", &["\"outage\"", "AT+FOR"]),
    ("outage=5s+0ms", &["\"outage\"", "no time", "FOR is more than 0"]),
    ("outage=5s+2s/1s", &["\"outage\"", "before it is over", "EVERY (1 s)", "FOR (2 s)"]),
    ("outage=5s+2s/2s", &["\"outage\"", "before it is over"]),
    ("outage=5s+2s/0", &["\"outage\"", "before it is over"]),
    ("outage=", &["\"outage\"", "AT+FOR", "outage=5s+200ms"]),
    ("outage=5s-1s", &["\"outage\"", "\"5s-1s\"", "AT+FOR"]),
    ("outage=+1s", &["\"outage\"", "AT is missing", "outage=5s+200ms"]),
    ("outage=5s+", &["\"outage\"", "FOR is missing"]),
    ("outage=5s+/1s", &["\"outage\"", "FOR is missing"]),
    ("outage=5s+1s/", &["\"outage\"", "EVERY is missing", "outage=2s+150ms/15s"]),
    ("outage=5+1s", &["\"outage\"", "AT in", "\"5\" has no unit", "250ms or 2s"]),
    ("outage=5s+200", &["\"outage\"", "FOR in", "\"200\" has no unit"]),
    ("outage=5s+1s/15", &["\"outage\"", "EVERY in", "\"15\" has no unit"]),
    ("outage=5s+1mbit", &["\"outage\"", "FOR in", "\"mbit\"", "ns, us, ms, s"]),
    ("outage=-1s+1s", &["\"outage\"", "AT in", "zero or more"]),
    ("outage=5s+1s+1s", &["\"outage\"", "FOR in", "\"1s+1s\""]),
    ("outage=2d+1s", &["\"outage\"", "AT in", "at most 24h"]),
    ("outage=none,outage=5s+1s", &["\"outage\"", "none stands alone"]),
    ("up.outage=0+1s/2s,up.outage=1s+1s/2s", &["\"up.outage\"", "never up again", "shorter"]),
    ("seed=-1", &["\"seed\"", "whole number"]),
];

#[test]
fn what_is_impossible_is_refused_by_key_with_an_example() {
    for (text, named) in REFUSED {
        let error = text.parse::<LinkSpec>().expect_err(text).to_string();
        for name in named {
            assert!(error.contains(name), "{text:?} gave {error:?}, without {name:?}");
        }
    }
}

proptest! {
    #[test]
    fn any_text_is_taken_or_refused(text in "\\PC{0,60}") {
        let _ = text.parse::<LinkSpec>();
    }

    #[test]
    fn shown_and_parsed_again_is_the_same(
        rate in 1u64..100_000_000_000,
        delay_us in 0u64..60_000_000,
        jitter_ns in 0u64..1_000_000,
        loss_ppm in 0u32..=1_000_000,
        queue in 0u64..1_000_000,
        burst in 2.0f64..50.0,
        at_ms in 0u64..100_000,
    ) {
        let loss = f64::from(loss_ppm) / 10_000.0;
        let burst = if (0.0001..60.0).contains(&loss) { format!(",burst={burst}") } else { String::new() };
        let text = format!(
            "up.rate={rate}bit,delay={delay_us}us,jitter={jitter_ns}ns,down.loss=1%,loss={loss}%\
             ,up.queue={queue}B,outage={at_ms}ms+5ms/1s,reorder={loss}%+1ms{burst}"
        );
        let first = link(&text);
        let again = link(&first.to_string());
        prop_assert_eq!(first.to_string(), again.to_string());
        prop_assert_eq!((first.up.rate(), first.up.delay), (again.up.rate(), again.up.delay));
        prop_assert!((first.up.loss.fraction() - again.up.loss.fraction()).abs() < 1e-12);
    }
}

#[test]
fn a_link_that_loses_everything_is_no_link_to_compare() {
    for (text, is_alive) in
        [("loss=100%", false), ("lan,down.loss=100%", false), ("loss=99.9%", true)]
    {
        assert_eq!(link(text).check_alive().is_ok(), is_alive, "{text}");
    }
    let refused = link("up.loss=100%").check_alive().unwrap_err().to_string();
    assert!(refused.contains("up.loss") && refused.contains("less than 100%"), "{refused}");
}
