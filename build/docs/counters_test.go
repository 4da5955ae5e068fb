package docs

import (
	"crypto/rand"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/ipv6"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
	"github.com/roamkey/roamkey/ndp/certpath"
	"github.com/roamkey/roamkey/ndp/neighbor"
	"github.com/roamkey/roamkey/ndp/send"
)

const countersDocument = "docs/operating.md"

// counterGroups gives the names of all counters by the group that status shows them in. Of a group for each link, such as
// "ra LINK", it is the first word. What the mobile node counts stands under two names: with SEND it is another machine.
func counterGroups(t *testing.T) map[string][]string {
	t.Helper()
	cfg := advertise.DefaultConfig()
	cfg.Interface, cfg.Hardware, cfg.LinkLocal = 1, ipv6.LinkAddr{2}, netip.MustParseAddr("fe80::1")
	cfg.Rand = rand.Reader
	speaker, err := advertise.NewSpeaker(cfg)
	if err != nil {
		t.Fatal(err)
	}
	endpoint, err := send.NewEndpoint(send.Config{Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	server, err := certpath.NewServer(certpath.ServerConfig{})
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]string{
		"lke":                  yielded(lke.NewRouter(lke.RouterConfig{}).Counters),
		"ra":                   yielded(speaker.Counters),
		"send":                 yielded(endpoint.Counters),
		"neighbor":             yielded(neighbor.New(neighbor.Config{Rand: rand.Reader}).Counters),
		"path":                 yielded(server.Counters),
		"handoverkey":          yielded(handoverkey.NewRouter(handoverkey.RouterConfig{Rand: rand.Reader}).Counters),
		"fmip":                 yielded(fmip.NewRouter(fmip.RouterConfig{Rand: rand.Reader}).Counters),
		"roamkey-mn":           yielded(lke.NewNode(lke.NodeConfig{}).Counters),
		"roamkey-mn with SEND": nodeWithSEND(t),
		"rawip":                written(t, "drivers/rawip"),
		"hostnet":              written(t, "drivers/hostnet"),
		"engine":               written(t, "drivers/engine"),
		"forward":              written(t, "drivers/forward", "drivers/rtnl", "drivers/conntrack"),
		"guard":                written(t, "drivers/guard"),
		"neighbors":            written(t, "drivers/neighbors"),
		"hold":                 written(t, "drivers/hold", "drivers/conntrack"),
		"daemon":               written(t, "firmware/daemon"),
	}
}

// nodeWithSEND gives what a node counts under its own names: the machines that it shares with the router, and the drivers,
// are shown with prefixes, and told of in the router's groups.
func nodeWithSEND(t *testing.T) []string {
	t.Helper()
	names := yielded(fmip.NewNode(fmip.NodeConfig{}).Counters)
	names = append(names, yielded(handoverkey.NewNode(handoverkey.NodeConfig{}).Counters)...)
	for _, name := range yielded(new(certpath.Client).Counters) {
		names = append(names, "path_"+name)
	}
	return append(names, written(t, "firmware/mobilenode")...)
}

// TestEachGroupOfStatusIsKnown: what the daemon shows as a group is one here.
func TestEachGroupOfStatusIsKnown(t *testing.T) {
	groups := counterGroups(t)
	shown := regexp.MustCompile(`\bcollect\("([a-z]+) ?"`).FindAllStringSubmatch(read(t, "firmware/daemon/status.go"), -1)
	if len(shown) < 15 {
		t.Fatalf("status shows only %d groups: teach this test", len(shown))
	}
	for _, m := range shown {
		if groups[m[1]] == nil {
			t.Errorf("status shows the group %s, whose counters are not looked for", m[1])
		}
	}
}

func yielded(counters func(yield func(name string, value uint64))) (names []string) {
	counters(func(name string, _ uint64) { names = append(names, name) })
	return names
}

// written finds the counters of packages in their source: those that need a kernel cannot be asked.
func written(t *testing.T, dirs ...string) []string {
	t.Helper()
	var source strings.Builder
	dir := dirs[0]
	for _, f := range matching(t, "*.go") {
		if slices.Contains(dirs, path.Dir(f)) && !strings.HasSuffix(f, "_test.go") {
			source.WriteString(read(t, f))
		}
	}
	found := make(map[string]bool)
	// What stands behind yield(: a name, a prefix of names, or something else.
	for _, m := range regexp.MustCompile(`\byield\(("([a-z0-9_]+)"(\+?)|(\w+(?:\[\w+\])?),|prefix\+name,)([^,\n]*)`).FindAllStringSubmatch(source.String(), -1) {
		name, more, variable, rest := m[2], m[3] != "", m[4], m[5]
		switch {
		case name == "" && variable == "": // yield(prefix+name, ...): another package's
		case variable == "verdictNames[v]":
			for _, verdict := range constants(source.String(), "verdictNames") {
				found[verdict] = true
			}
		case variable != "" && dir == "drivers/guard": // the name of a rule
			for _, rule := range regexp.MustCompile(`\bname: +"([a-z_]+)"`).FindAllStringSubmatch(source.String(), -1) {
				found[rule[1]] = true
			}
		case variable != "":
			t.Errorf("%s: what does yield(%s, ...) give? Teach this test", dir, variable)
		case !more:
			found[name] = true
		default:
			endings := families(t, source.String())[strings.TrimRight(rest, ")")]
			if len(endings) == 0 {
				t.Errorf("%s: what does yield(%q+%s, ...) give? Teach this test", dir, name, rest)
			}
			for _, ending := range endings {
				found[name+ending] = true
			}
		}
	}
	if len(found) == 0 {
		t.Errorf("%s counts nothing", dir)
	}
	return slices.Sorted(maps.Keys(found))
}

// families are the endings of names that are put together, by the expression that gives them.
func families(t *testing.T, source string) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for i := 1; i < ipv6.Problems; i++ {
		all["p.String("] = append(all["p.String("], ipv6.Problem(i).String())
	}
	for i := 1; i < mobility.Faults; i++ {
		all["f.String("] = append(all["f.String("], mobility.Fault(i).String())
	}
	for i := 1; i < ndp.Reasons; i++ {
		all["r.String("] = append(all["r.String("], ndp.Reason(i).String())
	}
	all["reasonNames[why]"] = constants(source, "reasonNames")
	return all
}

// constants gives the names in a table of a source: var TABLE = [...]string{...}.
func constants(source, table string) (names []string) {
	_, text, _ := strings.Cut(source, table+" = [")
	_, text, _ = strings.Cut(text, "]string{")
	text, _, _ = strings.Cut(text, "}")
	for _, m := range regexp.MustCompile(`"([a-z_]+)"`).FindAllStringSubmatch(text, -1) {
		names = append(names, m[1])
	}
	return names
}

// TestCountersTable: under a heading "Group NAME" each counter of that group stands in a row, alone or with those that are
// explained with it; and each that stands there exists.
func TestCountersTable(t *testing.T) {
	sections := tables(read(t, countersDocument))
	quoted := regexp.MustCompile("`([^`]+)`")
	groups := counterGroups(t)
	for group, names := range groups {
		seen := make(map[string]bool)
		for _, r := range sections["Group "+group] {
			if len(r.cells) != 2 || r.cells[1] == "" {
				t.Errorf("%s:%d: want counters and what they count", countersDocument, r.line)
				continue
			}
			for _, m := range quoted.FindAllStringSubmatch(r.cells[0], -1) {
				if seen[m[1]] {
					t.Errorf("%s:%d: %s stands there twice", countersDocument, r.line, m[1])
				}
				seen[m[1]] = true
				if !slices.Contains(names, m[1]) {
					t.Errorf("%s:%d: group %s has no counter %s", countersDocument, r.line, group, m[1])
				}
			}
		}
		for _, name := range names {
			if !seen[name] {
				t.Errorf("%s: counter %s of group %s is missing", countersDocument, name, group)
			}
		}
	}
	for heading := range sections {
		if group, ok := strings.CutPrefix(heading, "Group "); ok && groups[group] == nil {
			t.Errorf("%s: there is no group %s", countersDocument, group)
		}
	}
	readme := make(map[string]bool)
	for _, r := range tables(read(t, "README.md"))["Counters"] {
		for _, m := range quoted.FindAllStringSubmatch(r.cells[0], -1) {
			readme[m[1]] = true
		}
	}
	for group := range groups {
		if name, _, _ := strings.Cut(group, " "); !readme[name] {
			t.Errorf("README.md: the group of counters %s is missing", name)
		}
	}
}
