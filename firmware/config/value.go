package config

import (
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Forever is a lifetime without end: all ones in the 32-bit fields of router advertisements.
const Forever = math.MaxUint32 * time.Second

// The functions here read one value of a file into a setting. Each gives a fault for what it cannot take.

func setBool(to *bool, value string) *fault {
	switch strings.ToLower(value) {
	case "1", "on", "true", "yes", "enabled":
		*to = true
	case "0", "off", "false", "no", "disabled":
		*to = false
	default:
		return &fault{quote(value) + " is neither on nor off", "write '1' or '0'"}
	}
	return nil
}

type integer interface{ ~int | ~uint8 | ~uint16 }

func setInt[T integer](to *T, value string, least, most int, example string) *fault {
	fix := "write a whole number from " + itoa(least) + " to " + itoa(most) + ", such as '" + example + "'"
	n, err := strconv.ParseInt(value, 10, 64)
	switch {
	case err != nil && !isDigits(value):
		return &fault{quote(value) + " is not a whole number", fix}
	case err != nil || n < int64(least) || n > int64(most):
		return &fault{quote(value) + " is out of range", fix}
	}
	*to = T(n)
	return nil
}

func isDigits(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }

// span is the range of a duration. whole asks for whole seconds, as most fields on the wire hold them.
type span struct {
	least, most time.Duration
	whole       bool
	example     string
	forever     bool // takes 'infinity', too
	orZero      bool // takes 0 below least, too
}

func (s span) fix() string {
	fix := "write a time from " + FormatDuration(s.least) + " to " + FormatDuration(s.most)
	if s.forever {
		fix = "write a time of at least " + FormatDuration(s.least) + ", or 'infinity'"
	}
	if s.orZero {
		fix += ", or '0'"
	}
	return fix + ", such as '" + s.example + "'"
}

func (s span) set(to *time.Duration, value string) *fault {
	if s.forever && (value == "infinity" || value == "infinite") {
		*to = Forever
		return nil
	}
	d, ok := parseDuration(value)
	switch {
	case !ok:
		return &fault{quote(value) + " is not a time", s.fix()}
	case s.orZero && d == 0:
	case d < s.least || d > s.most:
		return &fault{quote(value) + " is out of range", s.fix()}
	case s.whole && d%time.Second != 0:
		return &fault{quote(value) + " is not a whole number of seconds", s.fix()}
	}
	*to = d
	return nil
}

// units of a duration, longest first. A number without one is in seconds.
func units() []struct {
	suffix string
	length time.Duration
} {
	return []struct {
		suffix string
		length time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}}
}

// parseDuration reads digits with at most one point and six decimals, and a unit. What Forever does not hold is just more
// than it.
func parseDuration(value string) (d time.Duration, ok bool) {
	number := strings.TrimRight(value, "dhms")
	unit, suffix := time.Second, value[len(number):]
	if suffix != "" {
		unit = 0
		for _, u := range units() {
			if u.suffix == suffix {
				unit = u.length
			}
		}
	}
	length := unit
	whole, fraction, _ := strings.Cut(number, ".")
	if unit == 0 || !isDigits(whole+fraction) || len(fraction) > 6 {
		return 0, false
	}
	n, err := strconv.ParseUint("0"+whole, 10, 64)
	if err != nil || n >= uint64(Forever/unit) {
		return Forever + 1, true
	}
	for i := range len(fraction) {
		unit /= 10 // every unit is a multiple of a million nanoseconds
		d += time.Duration(fraction[i]-'0') * unit
	}
	return d + time.Duration(n)*length, true
}

// FormatDuration gives a duration as a file may hold it, in the largest unit that leaves a whole number.
func FormatDuration(d time.Duration) string {
	if d == Forever {
		return "infinity"
	}
	if d == 0 {
		return "0"
	}
	for _, u := range units() {
		if d%u.length == 0 {
			return strconv.FormatInt(int64(d/u.length), 10) + u.suffix
		}
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

func setChoice(to *string, value string, choices ...string) *fault {
	for _, c := range choices {
		if value == c {
			*to = value
			return nil
		}
	}
	return &fault{quote(value) + " is none of the choices", "write one of " + strings.Join(choices, ", ") + didYouMean(value, choices)}
}

// setDevice reads the name of a network interface as the kernel allows it (IFNAMSIZ, dev_valid_name).
func setDevice(to *string, value string) *fault {
	const longest = 15
	switch {
	case len(value) > longest:
		return &fault{quote(value) + " is too long for a network interface", "write at most 15 characters, such as 'br-lan'"}
	case value == "." || value == ".." || !isPrintable(value) || strings.ContainsAny(value, "/:"):
		return &fault{quote(value) + " cannot be the name of a network interface", "write a name that ip link shows, such as 'br-lan'"}
	}
	*to = value
	return nil
}

// setPath reads an absolute path.
func setPath(to *string, value string, longest int, example string) *fault {
	switch {
	case value[0] != '/':
		return &fault{quote(value) + " is not an absolute path", "start it with /, such as '" + example + "'"}
	case len(value) > longest:
		return &fault{quote(value) + " is too long", "write at most " + itoa(longest) + " characters"}
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 127 }):
		return &fault{quote(value) + " has control characters", "write a plain path, such as '" + example + "'"}
	}
	*to = value
	return nil
}

// parseGlobal reads a unicast IPv6 address that can be routed, one of a unique local prefix among them.
func parseGlobal(value string) (netip.Addr, *fault) {
	a, f := parseAddress(value)
	switch {
	case f != nil:
		return a, f
	case a.IsLinkLocalUnicast():
		return a, &fault{quote(value) + " is a link-local address", "write a global one, such as '2001:db8:1::1'"}
	}
	return a, nil
}

// parseAddress reads a unicast IPv6 address, link-local ones among them.
func parseAddress(value string) (netip.Addr, *fault) {
	a, err := netip.ParseAddr(value)
	switch {
	case err != nil && strings.Contains(value, "/"):
		return a, &fault{quote(value) + " is a prefix, not an address", "leave out the / and what follows"}
	case err != nil:
		return a, &fault{quote(value) + " is not an IPv6 address", "write one such as '2001:db8:1::1'"}
	case a.Is4() || a.Is4In6():
		return a, &fault{quote(value) + " is an IPv4 address", "write an IPv6 address, such as '2001:db8:1::1'"}
	case a.Zone() != "":
		return a, &fault{quote(value) + " has a zone", "leave out the % and what follows"}
	case !a.IsGlobalUnicast() && !a.IsLinkLocalUnicast():
		return a, &fault{quote(value) + " is not the address of one host", "write one such as '2001:db8:1::1'"}
	}
	return a, nil
}

// parsePrefix reads an IPv6 prefix of hosts that can be routed. With anyDefault ::/0 is one, too.
func parsePrefix(value string, anyDefault bool) (netip.Prefix, *fault) {
	p, err := netip.ParsePrefix(value)
	if err != nil {
		fix := "write one such as '2001:db8:1::/64'"
		if a, err := netip.ParseAddr(value); err == nil && a.Is6() {
			return p, &fault{quote(value) + " has no prefix length", fix}
		}
		return p, &fault{quote(value) + " is not an IPv6 prefix", fix}
	}
	a := p.Addr()
	switch {
	case a.Is4() || a.Is4In6():
		return p, &fault{quote(value) + " is an IPv4 prefix", "write an IPv6 prefix, such as '2001:db8:1::/64'"}
	case p != p.Masked():
		return p, &fault{quote(value) + " has bits set after its length", "write '" + p.Masked().String() + "'"}
	case anyDefault && p.Bits() == 0:
	case !a.IsGlobalUnicast():
		return p, &fault{quote(value) + " is not a prefix of global addresses", "write one such as '2001:db8:1::/64'"}
	}
	return p, nil
}

// parseDomain reads a domain name of letters, digits and hyphens (RFC 1123 section 2.1), at most 253 characters.
func parseDomain(value string) (string, *fault) {
	name := strings.ToLower(strings.TrimSuffix(value, "."))
	for _, label := range strings.Split(name, ".") {
		bad := strings.ContainsFunc(label, func(r rune) bool { return r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') })
		if bad || label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || len(name) > 253 {
			return "", &fault{quote(value) + " is not a domain name", "write one such as 'lan.example.org'"}
		}
	}
	return name, nil
}

// attributes reads what follows the first word of a list value: KEY=VALUE pairs, each at most once.
func attributes(text string, set map[string]func(value string) *fault) *fault {
	known := sortedKeys(set)
	seen := make(map[string]bool)
	for _, pair := range strings.Fields(text) {
		key, value, ok := strings.Cut(pair, "=")
		switch {
		case set[key] == nil:
			return &fault{quote(pair) + " is unknown here", "after the prefix may stand " + strings.Join(known, "=, ") + "=" + didYouMean(key, known)}
		case !ok || value == "":
			return &fault{quote(pair) + " has no value", "write " + key + "=VALUE"}
		case seen[key]:
			return &fault{key + "= is there twice", "write it once"}
		}
		seen[key] = true
		if f := set[key](value); f != nil {
			f.what = key + "=" + f.what
			return f
		}
	}
	return nil
}
