"""The redirection that istio-cni installs inside a pod (contract section 1.5): iptables or nft, v4 and v6."""

MARK = "0x539/0xfff"
CONNMARK = "0x111/0xfff"
PROBE = {4: "169.254.7.127", 6: "fd16:9254:7127:1337:ffff:ffff:ffff:ffff"}
LOOPBACK = {4: "127.0.0.1/32", 6: "::1/128"}
BITS = {4: 32, 6: 128}


def iptables_rules(family, dns=False, ingress=False, virtual=()):
    """Input of iptables-restore for one pod and one family."""
    loop, probe = LOOPBACK[family], f"{PROBE[family]}/{BITS[family]}"
    mangle = [
        f"-A ISTIO_PRERT -m mark --mark {MARK} -j CONNMARK --set-xmark {CONNMARK}",
        f"-A ISTIO_OUTPUT -m connmark --mark {CONNMARK} -j CONNMARK --restore-mark"
        " --nfmask 0xffffffff --ctmask 0xffffffff",
    ]
    nat = []
    for link in virtual:
        nat.append(f"-A ISTIO_PRERT -i {link} -p tcp -j REDIRECT --to-ports 15001")
        nat.append(f"-A ISTIO_PRERT -i {link} -p tcp -j RETURN")
    if not ingress:
        nat.append(f"-A ISTIO_PRERT -s {probe} -p tcp -m tcp -j ACCEPT")
    nat.append(f"-A ISTIO_OUTPUT -d {probe} -p tcp -m tcp -j ACCEPT")
    if not ingress:
        nat.append(
            f"-A ISTIO_PRERT ! -d {loop} -p tcp -m tcp ! --dport 15008 -m mark ! --mark {MARK}"
            " -j REDIRECT --to-ports 15006"
        )
    raw = []
    if dns:
        nat.append(
            f"-A ISTIO_OUTPUT ! -o lo -p udp -m udp --dport 53 -m mark ! --mark {MARK} -j REDIRECT --to-ports 15053"
        )
        nat.append(
            f"-A ISTIO_OUTPUT ! -d {loop} -p tcp -m tcp --dport 53 -m mark ! --mark {MARK}"
            " -j REDIRECT --to-ports 15053"
        )
        raw = [
            f"-A ISTIO_OUTPUT -p udp -m udp --dport 53 -m mark --mark {MARK} -j CT --zone 1",
            f"-A ISTIO_PRERT -p udp -m udp --sport 53 -m mark ! --mark {MARK} -j CT --zone 1",
        ]
    nat += [
        f"-A ISTIO_OUTPUT -p tcp -m mark --mark {CONNMARK} -j ACCEPT",
        f"-A ISTIO_OUTPUT ! -d {loop} -o lo -j ACCEPT",
        f"-A ISTIO_OUTPUT ! -d {loop} -p tcp -m mark ! --mark {MARK} -j REDIRECT --to-ports 15001",
    ]
    text = []
    for table, rules in (("mangle", mangle), ("nat", nat), ("raw", raw)):
        if rules:
            text += [f"*{table}", ":ISTIO_PRERT - [0:0]", ":ISTIO_OUTPUT - [0:0]"]
            text += ["-A PREROUTING -j ISTIO_PRERT", "-A OUTPUT -j ISTIO_OUTPUT", *rules, "COMMIT"]
    return "\n".join(text) + "\n"


def nft_rules(dns=False, ingress=False, virtual=()):
    """Input of nft -f for one pod, both families at once."""
    marked, unmarked = "meta mark & 0xfff == 0x539", "meta mark & 0xfff != 0x539"
    both = [("ip", PROBE[4], "127.0.0.1"), ("ip6", PROBE[6], "::1")]
    prert, output = [], []
    for link in virtual:
        prert += [f"iifname {link} meta l4proto tcp redirect to :15001", f"iifname {link} meta l4proto tcp return"]
    if not ingress:
        prert += [f"{ip} saddr {probe} meta l4proto tcp accept" for ip, probe, _ in both]
    output += [f"{ip} daddr {probe} meta l4proto tcp accept" for ip, probe, _ in both]
    if not ingress:
        prert += [f"{ip} daddr != {loop} tcp dport != 15008 {unmarked} redirect to :15006" for ip, _, loop in both]
    if dns:
        output.append(f"oifname != lo udp dport 53 {unmarked} redirect to :15053")
        output += [f"{ip} daddr != {loop} tcp dport 53 {unmarked} redirect to :15053" for ip, _, loop in both]
    output.append("meta l4proto tcp meta mark & 0xfff == 0x111 accept")
    output += [f"{ip} daddr != {loop} oifname lo accept" for ip, _, loop in both]
    output += [f"{ip} daddr != {loop} meta l4proto tcp {unmarked} redirect to :15001" for ip, _, loop in both]
    tables = {
        "mangle": (
            "filter",
            "route",
            -150,
            [f"{marked} ct mark set ct mark & 0xfffff000 | 0x111"],
            ["ct mark & 0xfff == 0x111 meta mark set ct mark"],
        ),
        "nat": ("nat", "nat", -100, prert, output),
    }
    if dns:
        tables["raw"] = (
            "filter",
            "filter",
            -300,
            [f"udp sport 53 {unmarked} ct zone set 1"],
            [f"udp dport 53 {marked} ct zone set 1"],
        )
    text = []
    for name, (pre_type, out_type, priority, pre, out) in tables.items():
        text += [f"table inet istio-ambient-{name} {{"]
        text += [f"chain prerouting {{ type {pre_type} hook prerouting priority {priority}; policy accept;", *pre, "}"]
        text += [f"chain output {{ type {out_type} hook output priority {priority}; policy accept;", *out, "}", "}"]
    return "\n".join(text) + "\n"


def redirect(ns, flavour="iptables", dns=False, ingress=False, virtual=()):
    """Puts a pod into the mesh: rules, and the route that brings replies to spoofed sources back."""
    if flavour == "nft":
        ns.run(["nft", "-f", "-"], input=nft_rules(dns, ingress, virtual))
    else:
        for family, tool in ((4, "iptables-restore"), (6, "ip6tables-restore")):
            ns.run([tool, "-w", "--noflush"], input=iptables_rules(family, dns, ingress, virtual))
    ns.batch(
        "rule add fwmark 0x111/0xfff pref 32764 lookup 100",
        "-6 rule add fwmark 0x111/0xfff pref 32764 lookup 100",
        "route add local 0.0.0.0/0 dev lo table 100",
        "-6 route add local ::/0 dev lo table 100",
    )
