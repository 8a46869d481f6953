//! The kernel's tables to whether there is a default route.
//!
//! In: the text of `/proc/net/route` and `/proc/net/ipv6_route`. Out: yes or
//! no. Must not: read them.

/// The route can be used (`RTF_UP`).
const UP: u32 = 0x1;

/// The route says that there is none (`RTF_REJECT`); the kernel always has one
/// for IPv6.
const REJECT: u32 = 0x200;

/// Whether either table has a usable route to everywhere.
pub(super) fn has_default(ipv4: &str, ipv6: &str) -> bool {
    ipv4.lines()
        .skip(1)
        .any(|line| is_default_v4(line) == Some(true))
        || ipv6.lines().any(|line| is_default_v6(line) == Some(true))
}

/// Interface, destination, gateway, flags, three counters, mask, ...
fn is_default_v4(line: &str) -> Option<bool> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let zero = |index: usize| Some(hexadecimal(columns.get(index)?)? == 0);
    Some(zero(1)? && zero(7)? && is_usable(columns.get(3)?)?)
}

/// Destination, its length, source, its length, next hop, metric, two
/// counters, flags, interface.
fn is_default_v6(line: &str) -> Option<bool> {
    let columns: Vec<&str> = line.split_whitespace().collect();
    let is_everywhere =
        columns.first()?.bytes().all(|byte| byte == b'0') && hexadecimal(columns.get(1)?)? == 0;
    Some(is_everywhere && is_usable(columns.get(8)?)? && *columns.get(9)? != "lo")
}

fn is_usable(flags: &str) -> Option<bool> {
    let flags = hexadecimal(flags)?;
    Some(flags & UP != 0 && flags & REJECT == 0)
}

fn hexadecimal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const LOCAL: &str = "eth0\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n";
    const DEFAULT: &str = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
    const REJECTED: &str = "*\t00000000\t00000000\t0200\t0\t0\t100\t00000000\t0\t0\t0\n";
    const HALF: &str = "tun0\t00000000\t0100A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n";
    const NOWHERE_V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 \
        00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200       lo\n";
    const DEFAULT_V6: &str = "00000000000000000000000000000000 00 00000000000000000000000000000000 \
        00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003     eth0\n";
    const LINK_V6: &str = "fe800000000000000000000000000000 40 00000000000000000000000000000000 \
        00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0\n";

    #[test]
    fn only_a_usable_route_to_everywhere_is_a_default_route() {
        for (ipv4, ipv6, expected) in [
            (String::new(), "", false),
            (HEAD.to_owned(), NOWHERE_V6, false),
            (format!("{HEAD}{LOCAL}"), LINK_V6, false),
            (format!("{HEAD}{LOCAL}{DEFAULT}"), NOWHERE_V6, true),
            (format!("{HEAD}{REJECTED}{HALF}"), NOWHERE_V6, false),
            (HEAD.to_owned(), DEFAULT_V6, true),
            (format!("{HEAD}garbage\n\n"), "garbage\n", false),
        ] {
            assert_eq!(has_default(&ipv4, ipv6), expected, "{ipv4}\n{ipv6}");
        }
    }
}
