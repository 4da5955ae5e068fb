package config

import (
	"log/slog"
	"strings"
	"time"
)

// longestSocket leaves room for the suffix under which a control socket is made, in the 108 octets of a socket's address.
const longestSocket = 100

func globalTable(g *Global) table {
	return table{
		typ:     "roamkey",
		aliases: map[string]string{"statedir": "state_dir", "socket": "control", "control_socket": "control", "key": "lke_key", "verbose": "log_level", "loglevel": "log_level", "backend": "tunnel"},
		fields: []field{
			{name: "state_dir", def: "/var/run/roamkey", set: func(v string) *fault { return setPath(&g.StateDir, v, 1024, "/var/run/roamkey") }},
			{name: "control", set: func(v string) *fault {
				return setPath(&g.Control, v, longestSocket, "/var/run/roamkey/control.sock")
			}},
			{name: "lke_key", def: "/etc/roamkey/lke.key", set: func(v string) *fault { return setPath(&g.LKEKey, v, 1024, "/etc/roamkey/lke.key") }},
			{name: "user", def: "roamkey", set: func(v string) *fault { return setUser(&g.User, v) }},
			{name: "log_level", def: "info", set: func(v string) *fault { return setLevel(&g.LogLevel, v) }},
			{name: "tunnel", def: "auto", set: func(v string) *fault { return setChoice(&g.Tunnel, v, "auto", "kernel", "tun") }},
			{name: "tunnel_device", def: "rktun0", set: func(v string) *fault { return setDevice(&g.TunnelDevice, v) }},
			{name: "tunnel_mtu", def: "0", set: func(v string) *fault { return setMTU(&g.TunnelMTU, v) }},
			{name: "workers", def: "0", set: func(v string) *fault { return setInt(&g.Workers, v, 0, 64, "0") }},
			{name: "queue", def: "64", set: func(v string) *fault { return setInt(&g.Queue, v, 1, 4096, "64") }},
			{name: "max_nodes", def: "0", set: func(v string) *fault { return setInt(&g.MaxNodes, v, 0, 100000, "2000") }},
		},
	}
}

func finishGlobal(g *Global) {
	if g.Control == "" {
		g.Control = g.StateDir + "/control.sock"
	}
}

func setUser(to *string, value string) *fault {
	for i := range len(value) {
		c := value[i]
		if c <= ' ' || c > 126 || c == ':' || c == '/' {
			return &fault{quote(value) + " cannot be the name of a user", "write a name of /etc/passwd, such as 'roamkey'"}
		}
	}
	*to = value
	return nil
}

func setLevel(to *slog.Level, value string) *fault {
	var name string
	if f := setChoice(&name, value, "debug", "info", "warn", "error"); f != nil {
		return f
	}
	return ignore(to.UnmarshalText([]byte(name)))
}

// ignore is for a conversion of what was checked before.
func ignore(err error) *fault {
	if err != nil {
		return &fault{err.Error(), ""}
	}
	return nil
}

// setMTU reads an MTU, or 0; IPv6 needs 1280.
func setMTU(to *int, value string) *fault {
	if value == "0" {
		*to = 0
		return nil
	}
	return setInt(to, value, 1280, 65535, "1460")
}

func lkeTable(l *LKE) table {
	const second = time.Second
	lifetime := span{least: 10 * second, most: 65534 * second, whole: true, example: "7200"}
	return table{
		typ:     "lke",
		aliases: map[string]string{"minbits": "key_bits", "bits": "key_bits", "lifetime": "max_lifetime"},
		fields: []field{
			{name: "max_lifetime", def: "7200", set: func(v string) *fault { return lifetime.set(&l.MaxLifetime, v) }},
			{name: "request_interval", def: "3", set: func(v string) *fault {
				return span{least: second / 10, most: 3600 * second, example: "3"}.set(&l.RequestInterval, v)
			}},
			{name: "request_backoff_max", def: "48", set: func(v string) *fault {
				return span{least: second / 10, most: 3600 * second, example: "48"}.set(&l.RequestBackoffMax, v)
			}},
			{name: "dad_transmits", def: "1", set: func(v string) *fault { return setInt(&l.DADTransmits, v, 1, 10, "1") }},
			{name: "retrans_timer", def: "1", set: func(v string) *fault {
				return span{least: second / 10, most: 10 * second, example: "1"}.set(&l.RetransTimer, v)
			}},
			{name: "request_finished", def: "1", set: func(v string) *fault { return setBool(&l.RequestFinished, v) }},
			{name: "finished_timeout", def: "3", set: func(v string) *fault {
				return span{least: second, most: 60 * second, example: "3"}.set(&l.FinishedTimeout, v)
			}},
			{name: "max_binding", def: "7200", set: func(v string) *fault {
				return span{least: 4 * second, most: 65534 * second, whole: true, example: "7200"}.set(&l.MaxBinding, v)
			}},
			{name: "padding", def: "pkcs1", set: func(v string) *fault { return setChoice(&l.Padding, v, "pkcs1", "oaep") }},
			{name: "key_bits", def: "2048", set: func(v string) *fault { return setInt(&l.KeyBits, v, 1024, 4096, "2048") }},
		},
	}
}

func finishLKE(l *LKE, p *place) {
	if l.RequestBackoffMax < l.RequestInterval {
		p.fail("request_backoff_max", FormatDuration(l.RequestBackoffMax)+" is less than request_interval, "+FormatDuration(l.RequestInterval),
			"write at least '"+FormatDuration(l.RequestInterval)+"'")
	}
	if l.KeyBits%8 != 0 {
		p.fail("key_bits", "the length of a key is a multiple of 8", "write '"+itoa(l.KeyBits/8*8)+"' or '2048'")
	}
	if !l.RequestFinished {
		p.warn("request_finished", "without the Finished message nobody proves that a node is at the address that its packets go to",
			"leave it on, unless nodes cannot send that message")
	}
}

func codePointTable(c *CodePoints) table {
	number := func(name, def string, to *uint8) field {
		return field{name: name, def: def, set: func(v string) *fault { return setInt(to, v, 0, 255, def) }}
	}
	return table{
		typ: "codepoints",
		fields: []field{
			number("key_exchange_request", "8", &c.Mobility.KeyExchangeRequest),
			number("key_exchange_ack", "9", &c.Mobility.KeyExchangeAck),
			number("finished", "10", &c.Mobility.Finished),
			number("opt_lifetime", "3", &c.Mobility.OptLifetime),
			number("opt_router", "4", &c.Mobility.OptRouter),
			number("opt_hmac", "5", &c.Mobility.OptHMAC),
			number("opt_finished_request", "6", &c.Mobility.OptFinishedRequest),
			number("nd_capability", "6", &c.ND.Capability),
			number("nd_auth_request", "7", &c.ND.AuthRequest),
			number("nd_auth_reply", "8", &c.ND.AuthReply),
		},
	}
}

// finishCodePoints refuses numbers that the same message uses for something else.
func finishCodePoints(c *CodePoints, p *place) {
	check := func(option string, n uint8, others string, why string) {
		if strings.IndexByte(others, n) >= 0 {
			p.fail(option, itoa(int(n))+" is "+why, "write a number that nothing else uses in that message")
		}
	}
	// The numbers are written as octets of a string. Header types 0 to 7 are those of RFC 6275.
	const rfc6275, same = "\x00\x01\x02\x03\x04\x05\x06\x07", "another option of the same message"
	m := &c.Mobility
	check("key_exchange_request", m.KeyExchangeRequest, rfc6275, "a message of RFC 6275")
	check("key_exchange_ack", m.KeyExchangeAck, rfc6275, "a message of RFC 6275")
	check("key_exchange_ack", m.KeyExchangeAck, string([]byte{m.KeyExchangeRequest}), "also key_exchange_request")
	check("finished", m.Finished, rfc6275, "a message of RFC 6275")
	check("finished", m.Finished, string([]byte{m.KeyExchangeRequest}), "also key_exchange_request")
	check("finished", m.Finished, string([]byte{m.KeyExchangeAck}), "also key_exchange_ack")
	// Mobility options: Pad1 and PadN; in a Binding Acknowledgement Refresh Advice (2) and Authorization Data (5), too.
	check("opt_lifetime", m.OptLifetime, "\x00\x01", same)
	check("opt_router", m.OptRouter, "\x00\x01", same)
	check("opt_hmac", m.OptHMAC, string([]byte{0, 1, m.OptRouter}), same)
	check("opt_finished_request", m.OptFinishedRequest, "\x00\x01\x02\x05", same)
	// Neighbour Discovery. Advertisements of routers: source address 1, prefix 3, MTU 5, interval 7, home agent 8, SEND 11 to 16,
	// route 24, DNS 25 and 31.
	check("nd_capability", c.ND.Capability, "\x00\x01\x03\x05\x07\x08\x0b\x0c\x0d\x0e\x0f\x10\x18\x19\x1f", same)
	check("nd_auth_request", c.ND.AuthRequest, "\x00\x01\x0b\x0c\x0d\x0e", same)
	check("nd_auth_reply", c.ND.AuthReply, "\x00\x02\x0b\x0c\x0d\x0e", same)
}
