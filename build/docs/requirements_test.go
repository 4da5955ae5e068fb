package docs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// protocol is one whose requirements are listed: of an access router, of a mobile node, and resolutions of what its source
// leaves open, which a document explains.
type protocol struct {
	name           string
	router, node   int
	lastResolution byte
	document       string
}

func protocols() []protocol {
	return []protocol{
		{name: "LKE", router: 28, node: 13, lastResolution: 'w', document: "docs/protocol.md"},
		{name: "HK", router: 21, node: 8, lastResolution: 'l', document: "docs/fast.md"}, // handover keys
	}
}

func (p protocol) identifiers() (all []string) {
	for i := range p.router {
		all = append(all, fmt.Sprintf("%s-AR-%d", p.name, i+1))
	}
	for i := range p.node {
		all = append(all, fmt.Sprintf("%s-MN-%d", p.name, i+1))
	}
	for c := byte('a'); c <= p.lastResolution; c++ {
		all = append(all, fmt.Sprintf("%s-resolution-%c", p.name, c))
	}
	return all
}

func identifiers() (all []string) {
	for _, p := range protocols() {
		all = append(all, p.identifiers()...)
	}
	return all
}

// identifier finds whole names: LKE-AR-1 is not in LKE-AR-12. "LKE-resolution-e, -f" names both.
func identifier() *regexp.Regexp {
	return regexp.MustCompile(`\b(?:LKE|HK)-(?:(?:AR|MN)-[0-9]+|resolution-[a-z])\b`)
}

// named gives the files of tests that name each identifier.
func named(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	for _, f := range matching(t, "*_test.go") {
		if path.Dir(f) == "build/docs" {
			continue
		}
		for _, id := range identifier().FindAllString(read(t, f), -1) {
			if !slices.Contains(found[id], f) {
				found[id] = append(found[id], f)
			}
		}
	}
	return found
}

func TestEveryRequirementIsNamedByATest(t *testing.T) {
	names := named(t)
	known := identifiers()
	for _, id := range known {
		if len(names[id]) == 0 {
			t.Errorf("%s is named by no test", id)
		}
	}
	for id, files := range names {
		if !slices.Contains(known, id) {
			t.Errorf("%s, which %s names, does not exist", id, strings.Join(files, ", "))
		}
	}
}

// TestRequirementsNameTestsThatExist: each row of docs/requirements.md has an identifier, what it asks for, and links to
// tests: [TestName](../path/file_test.go). The file has that test, and one of a row's files names the identifier.
func TestRequirementsNameTestsThatExist(t *testing.T) {
	const document = "docs/requirements.md"
	names := named(t)
	link := regexp.MustCompile(`\[(Test\w+)\]\(\.\./([^)]+_test\.go)\)`)
	seen := make(map[string]bool)
	var order []string
	for _, rows := range tables(read(t, document)) {
		for _, r := range rows {
			id := strings.Trim(r.cells[0], "`")
			if !identifier().MatchString(id) {
				continue
			}
			where := fmt.Sprintf("%s:%d: %s", document, r.line, id)
			if seen[id] {
				t.Errorf("%s stands there twice", where)
			}
			seen[id] = true
			order = append(order, id)
			if len(r.cells) != 3 || r.cells[1] == "" {
				t.Errorf("%s: want an identifier, what it asks for, and tests", where)
				continue
			}
			links := link.FindAllStringSubmatch(r.cells[2], -1)
			if len(links) == 0 {
				t.Errorf("%s: no test", where)
			}
			says := false
			for _, l := range links {
				test, file := l[1], l[2]
				if !exists(file) || !strings.Contains(read(t, file), "func "+test+"(") {
					t.Errorf("%s: there is no %s in %s", where, test, file)
				}
				says = says || slices.Contains(names[id], file)
			}
			if !says {
				t.Errorf("%s: none of the files named there says that it shows it", where)
			}
		}
	}
	for _, id := range identifiers() {
		if !seen[id] {
			t.Errorf("%s: %s is missing", document, id)
		}
	}
	if want := len(identifiers()); len(order) != want {
		t.Errorf("%s has %d rows, want %d", document, len(order), want)
	}
}

// TestEachResolutionIsExplained: the protocol's document has a heading for each, with more than a line below it.
func TestEachResolutionIsExplained(t *testing.T) {
	for _, p := range protocols() {
		text := read(t, p.document)
		for c := byte('a'); c <= p.lastResolution; c++ {
			_, rest, found := strings.Cut(text, fmt.Sprintf("\n### %c. ", c))
			if !found {
				t.Errorf("%s has no heading ### %c.", p.document, c)
				continue
			}
			_, body, _ := strings.Cut(rest, "\n")
			body, _, _ = strings.Cut(body, "\n#")
			for _, part := range []string{"**Open:**", "**Here:**", "**Why:**"} {
				if !strings.Contains(body, part) {
					t.Errorf("%s: resolution %c has no part %s", p.document, c, part)
				}
			}
		}
	}
}

// secureMessages are the rows of RFC 3971's table of who has to carry what (sections 5.1.1, 5.2.1, 5.3.3 and 8), and the
// messages of RFC 5269.
func secureMessages() []string {
	return []string{
		"NS, src unicast", "NS for DAD, src ::", "NA solicited", "NA in reply to an unsecured NS", "NA unsolicited / UNA of FMIPv6",
		"RS, src unicast", "RS, src ::", "RA in reply to RS (unicast)", "RA multicast", "Redirect", "RtSolPr with option 27",
		"PrRtAdv with option 28", "CPS 148 / CPA 149",
	}
}

// TestSecureMessagesHaveTests: each of them is a part of ndp/send's TestTable, under its name, and has a row in
// docs/requirements.md that links to it, and to no test that does not exist.
func TestSecureMessagesHaveTests(t *testing.T) {
	const document, file = "docs/requirements.md", "ndp/send/table_test.go"
	source := read(t, file)
	rows := make(map[string]row)
	for _, r := range tables(read(t, document))["Messages of SEND"] {
		rows[r.cells[0]] = r
	}
	link := regexp.MustCompile(`\[(Test\w+)\]\(\.\./([^)]+_test\.go)\)`)
	for _, name := range secureMessages() {
		if !strings.Contains(source, fmt.Sprintf("t.Run(%q,", name)) {
			t.Errorf("%s does not show %s", file, name)
		}
		r, ok := rows[name]
		if !ok || len(r.cells) != 3 || r.cells[1] == "" {
			t.Errorf("%s has no row of three cells for %s", document, name)
			continue
		}
		links := link.FindAllStringSubmatch(r.cells[2], -1)
		shown := false
		for _, l := range links {
			if !exists(l[2]) || !strings.Contains(read(t, l[2]), "func "+l[1]+"(") {
				t.Errorf("%s:%d: there is no %s in %s", document, r.line, l[1], l[2])
			}
			shown = shown || l[1] == "TestTable" && l[2] == file
		}
		if !shown {
			t.Errorf("%s:%d: %s does not lead to its part of TestTable", document, r.line, name)
		}
	}
	if len(rows) != len(secureMessages()) {
		t.Errorf("%s has %d messages, want %d", document, len(rows), len(secureMessages()))
	}
}
