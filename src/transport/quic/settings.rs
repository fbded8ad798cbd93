//! Every number that QUIC is run with, and its reason.
//!
//! The yardstick is a link of 500 Mbit/s with a round trip of 200 ms, whose bandwidth-delay product
//! is 12.5 MB: nothing here may stand in the way of filling it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::ControllerFactory;
use quinn::{AckFrequencyConfig, EndpointConfig, MtuDiscoveryConfig, TransportConfig, VarInt};
use quinn_proto::RandomConnectionIdGenerator;
use socket2::{Domain, Protocol, Socket, Type};

/// Silence after which the connection is taken for lost. Longer than the outages that a satellite
/// handover or a tunnel brings, short enough that a sender reconnects within its `--retry-for`.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A sign of life when nothing else is sent: several fit into the idle timeout, so that a run of
/// lost ones does not end an idle session, and it keeps address translations open, which forget a
/// UDP flow after 30 s and more (RFC 4787 asks for two minutes, many give less).
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// How long connecting may take. Round trips of satellites and a few lost packets fit.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(8);

/// How long a sender whose handshake is done waits for the receiver's word that it is done there as well, and how many
/// round trips at least. The word is sent again until it is heard: in that time five times at 50 ms. A
/// receiver that was killed just then, and started again, takes what comes for nobody's, and never says a word.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(3);
/// See [`CONFIRM_TIMEOUT`].
pub const CONFIRM_RTTS: u32 = 12;

/// When handshakes are begun within that time, until one has come through. A satellite's answers before the
/// second.
pub const CONNECT_STARTS: [Duration; 3] =
    [Duration::ZERO, Duration::from_millis(1_500), Duration::from_secs(4)];

/// How often a connection with frames underway is woken, so that it notices the end of an outage:
/// with the congestion controller's pace of probing, two packets every 25 ms.
pub const NUDGE_INTERVAL: Duration = Duration::from_millis(25);

/// How long a peer may take from its first packet to its session stream.
pub const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// Frame streams open at once: 4 kB frames filling the yardstick link are 3,052 streams.
pub const MAX_FRAME_STREAMS: u32 = 4_096;

/// How long a receiver that closes waits until the peer has its last receipts. One that does not take
/// them asks again when it comes back, and must not keep the receiver from ending.
pub const LAST_WORDS: Duration = Duration::from_secs(2);

/// Credit for one frame: a single large frame must be able to fill the yardstick link.
const STREAM_RECEIVE_WINDOW: u32 = 16 << 20;

/// Credit for all frames that have arrived and were not yet read; two and a half times the
/// yardstick's bandwidth-delay product, since credit returns only after a round trip.
pub const RECEIVE_WINDOW: u32 = 32 << 20;

/// What every connection has of it from its beginning. It grows with what is read, so that it is in no
/// sender's way, and one that sends nothing holds no more of the receiver's memory.
pub const FIRST_RECEIVE_WINDOW: u64 = 256 * 1_024;

/// The same for streams.
pub const FIRST_STREAMS: u64 = 128;

/// Bytes that the connection holds until they are acknowledged, for the same reason the same.
pub const SEND_WINDOW: u64 = 32 << 20;

/// Assumed before the first sample; RFC 9002 suggests 333 ms, which makes a lost first packet cost
/// a second. Where the real one is longer the handshake is merely sent twice.
const INITIAL_RTT: Duration = Duration::from_millis(100);

/// Round trips after which a packet is lost that one sent later has overtaken. It decides on a frame's last
/// packets only, behind which fewer than three follow. RFC 9002 (section 6.1.2) recommends 9/8: too early and
/// a packet or two of a frame are sent twice, too late and the frame is.
const TIME_THRESHOLD: f32 = 17.0 / 16.0;

/// Asked of the kernel for each UDP socket, in bytes: at 500 Mbit/s it is 60 ms of packets, which
/// covers a receiver that gets no processor for a while. The kernel may grant less.
pub const SOCKET_BUFFER: usize = 4 << 20;

/// Bytes of packets that are handed to the kernel at once. It takes 65,507 of them, and what is longer would be dropped
/// without a word; but what makes 65,536 with the headers of IPv6 and Ethernet it cuts up again, packet by packet, also
/// for loopback, where the receiver could have had it in one piece.
pub const MOST_TOGETHER: usize = 65_535 - 8 - 40 - 14;

/// The longest UDP payload that is sent or taken, over loopback for one. Two of them go together. Those of twice the length
/// would be less work by a hundredth or two, and each of them a larger part of a window and of a socket's buffer.
pub const LONGEST_DATAGRAM: u16 = (MOST_TOGETHER / 2) as u16;

/// The longest packet, headers of IP and UDP included, that is sent where the route is not known to take jumbo
/// frames: what every path of IPv6 takes (RFC 8200, section 5), and so every tunnel, modem and network card that
/// is meant for it. The 1,500 bytes of Ethernet would be 0.7 % more payload, and every path that narrows while
/// frames are sent, most often without a word, would stop them for half a second and more: quinn takes four runs
/// of lost packets for a sign, each with a shorter one acknowledged behind it.
const USUAL_PACKET: u16 = 1_280;

/// The longest packet of a route that has no jumbo frames.
const ETHERNET_PACKET: u32 = 1_500;

/// How soon longer packets are tried again where the longest was not reached. quinn gives up a length after
/// three lost probes, which at 10 % loss in bursts happens on one path in a few, and would stay with packets
/// of 1,200 bytes, a fifth more of them, for ten minutes. A search costs a dozen packets at most.
const SEARCH_INTERVAL: Duration = Duration::from_secs(10);

/// How soon they are tried again where they have seemed to get lost on the way. quinn takes four gaps among
/// packets that left while a longer one was proven for that, and a short queue that overflows in startup
/// makes such gaps in a single round trip.
const BLACK_HOLE_COOLDOWN: Duration = Duration::from_secs(1);

/// Bytes that every packet to a receiver begins with, to tell its connection. quinn takes 8; these are
/// 0.3 % more payload in each packet, and enough for every connection there can be. Where a word has 32 bits quinn
/// counts the identifiers of so many bytes as none, and takes no connection; those have one byte more.
const CONNECTION_ID_LEN: usize = if usize::BITS > 32 { 4 } else { 5 };

/// Handshakes under way beyond which an unproven address must show itself first (a retry packet),
/// so that a flood of forged addresses is not answered with signatures.
pub const RETRY_ABOVE: usize = 32;

/// Handshakes under way, and connections whose session is not open yet, beyond which the oldest give way.
pub const MAX_HANDSHAKES: usize = 256;

/// The same from one address, behind which many senders may be.
pub const MAX_HANDSHAKES_OF_ONE: usize = 128;

/// Bytes that are kept of each connection that was not taken yet, and of all of them: the first packets of a
/// handshake, and no more.
pub const UNTAKEN_BYTES: u64 = 64 * 1_024;
/// See [`UNTAKEN_BYTES`].
pub const UNTAKEN_BYTES_OF_ALL: u64 = 4 << 20;

/// The settings of a connection, either end.
pub fn transport(congestion: Arc<dyn ControllerFactory + Send + Sync>) -> Arc<TransportConfig> {
    Arc::new(settings(congestion))
}

pub(super) fn settings(congestion: Arc<dyn ControllerFactory + Send + Sync>) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(1))
        .max_concurrent_uni_streams(VarInt::from_u32(MAX_FRAME_STREAMS))
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .send_window(SEND_WINDOW)
        .initial_rtt(INITIAL_RTT)
        .ack_frequency_config(Some(acknowledgements()))
        .time_threshold(TIME_THRESHOLD)
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IDLE_TIMEOUT.try_into().ok())
        // Nothing is sent as datagrams, so nothing has to be kept for them.
        .datagram_receive_buffer_size(None)
        .mtu_discovery_config(Some(discovery(longest_datagram(Ipv6Addr::UNSPECIFIED.into(), None))))
        .congestion_controller_factory(congestion);
    config
}

/// The settings of a connection to `receiver`, which are those of [`transport`], and packets as long
/// as the path takes as far as this machine can tell.
///
/// Networks with jumbo frames and loopback take several times the usual length, which is a multiple
/// less work for the same bytes. Discovery still has to prove that they arrive. To try longer ones
/// on any path would cost dozens of lost probes.
pub fn transport_to(
    receiver: SocketAddr,
    congestion: Arc<dyn ControllerFactory + Send + Sync>,
) -> Arc<TransportConfig> {
    transport_over(datagram_to(receiver), congestion)
}

/// The settings of a connection over a path that takes UDP payloads of up to `datagram` bytes.
pub fn transport_over(
    datagram: u16,
    congestion: Arc<dyn ControllerFactory + Send + Sync>,
) -> Arc<TransportConfig> {
    let mut config = settings(congestion);
    config.mtu_discovery_config(Some(discovery(datagram)));
    Arc::new(config)
}

/// The longest UDP payload to try on the way to `receiver`, as far as this machine can tell.
pub fn datagram_to(receiver: SocketAddr) -> u16 {
    longest_datagram(receiver.ip(), path_packet_to(receiver))
}

/// The longest UDP payload to try on the way to `receiver`, over a route whose longest packet is `route` bytes,
/// where that is known.
pub fn longest_datagram(receiver: IpAddr, route: Option<u32>) -> u16 {
    const UDP_HEADER: u16 = 8;
    let headers = UDP_HEADER + if receiver.is_ipv4() { 20 } else { 40 };
    let jumbo = route.filter(|packet| *packet > ETHERNET_PACKET);
    let packet = jumbo.map_or(USUAL_PACKET, |packet| u16::try_from(packet).unwrap_or(u16::MAX));
    packet.saturating_sub(headers).min(LONGEST_DATAGRAM)
}

/// How many packets of up to `datagram` bytes may be handed to the kernel at once.
pub fn packets_together(datagram: u16) -> usize {
    (MOST_TOGETHER / usize::from(datagram.max(1))).max(1)
}

fn discovery(datagram: u16) -> MtuDiscoveryConfig {
    let mut discovery = MtuDiscoveryConfig::default();
    discovery
        .upper_bound(datagram)
        .interval(SEARCH_INTERVAL)
        .black_hole_cooldown(BLACK_HOLE_COOLDOWN);
    discovery
}

/// What is asked of the peer for what this end sends (draft-ietf-quic-ack-frequency).
///
/// The last packet of a frame is acknowledged after 5 ms at the latest instead of 25, which takes
/// 20 ms off every probe timeout (RFC 9002, section 6.2.1) and lets the congestion controller see
/// where a burst ended.
fn acknowledgements() -> AckFrequencyConfig {
    let mut config = AckFrequencyConfig::default();
    config.max_ack_delay(Some(Duration::from_millis(5)));
    // What shows a hole is acknowledged at once, also where it is the only packet that does.
    config.reordering_threshold(VarInt::from_u32(1));
    config
}

/// The settings of a listening endpoint, whose resets its senders recognise even where it was
/// started again: they come back within a round trip instead of waiting for [`IDLE_TIMEOUT`].
///
/// Any identifier may be of a connection that it opened before it was started again, so it answers
/// all; quinn lets 50 resets a second go, in which to ask for every identifier takes years.
pub fn listening_endpoint(secret: &[u8; 32]) -> EndpointConfig {
    let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret);
    let mut config = with_long_datagrams(EndpointConfig::new(Arc::new(reset_key)));
    config.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(CONNECTION_ID_LEN)));
    config
}

/// The settings of a sender's endpoint.
pub fn dialling_endpoint() -> EndpointConfig {
    with_long_datagrams(EndpointConfig::default())
}

fn with_long_datagrams(mut config: EndpointConfig) -> EndpointConfig {
    if let Err(error) = config.max_udp_payload_size(LONGEST_DATAGRAM) {
        // Only a length under QUIC's least would be refused.
        tracing::debug!(%error, "datagrams keep their usual length");
    }
    config
}

/// The longest packet that the kernel's route to `receiver` takes; `None` where it does not tell.
fn path_packet_to(receiver: SocketAddr) -> Option<u32> {
    let any: IpAddr = match receiver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let probe = UdpSocket::bind((any, 0)).ok()?;
    // Connecting sends nothing; it makes the kernel look for its route.
    probe.connect(receiver).ok()?;
    path_packet(&probe, receiver)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn path_packet(connected: &UdpSocket, receiver: SocketAddr) -> Option<u32> {
    use rustix::net::sockopt::{ip_mtu, ipv6_mtu};
    if receiver.is_ipv4() { ip_mtu(connected).ok() } else { ipv6_mtu(connected).ok() }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn path_packet(_connected: &UdpSocket, _receiver: SocketAddr) -> Option<u32> {
    None
}

/// Binds a UDP socket with large buffers, as far as the kernel grants them.
///
/// # Errors
/// The system's, where the address is taken or not of this machine.
pub fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    for granted in
        [socket.set_recv_buffer_size(SOCKET_BUFFER), socket.set_send_buffer_size(SOCKET_BUFFER)]
    {
        if let Err(error) = granted {
            tracing::debug!(%error, "the kernel keeps its own size of a UDP buffer");
        }
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_long_as_any_path_takes_but_where_jumbo_frames_are_known() {
        let [v4, v6]: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        for route in [None, Some(0), Some(576), Some(1_280), Some(1_420), Some(1_500)] {
            assert_eq!(longest_datagram(v4, route), 1_252, "{route:?}");
            assert_eq!(longest_datagram(v6, route), 1_232, "{route:?}");
        }
        assert_eq!(longest_datagram(v4, Some(4_000)), 3_972);
        assert_eq!(longest_datagram(v4, Some(9_000)), 8_972, "jumbo frames of Ethernet");
        for route in [33_000, 65_535, 65_536, u32::MAX] {
            assert_eq!(longest_datagram(v4, Some(route)), LONGEST_DATAGRAM, "{route}");
        }
    }

    #[test]
    fn loopback_takes_longer_packets_than_ethernet() {
        let packet = path_packet_to(SocketAddr::from((Ipv4Addr::LOCALHOST, 9)));
        if cfg!(target_os = "linux") {
            assert!(packet.is_some_and(|bytes| bytes > ETHERNET_PACKET), "{packet:?}");
        }
    }

    #[test]
    fn what_goes_together_fits_into_one_call() {
        assert_eq!(packets_together(1_232), 53);
        assert_eq!(packets_together(8_972), 7);
        assert_eq!(packets_together(LONGEST_DATAGRAM), 2);
        assert_eq!(dialling_endpoint().get_max_udp_payload_size(), u64::from(LONGEST_DATAGRAM));
    }
}
