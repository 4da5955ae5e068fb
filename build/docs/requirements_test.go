package docs

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Requirements of an access router and of a mobile node, and resolutions of what the draft leaves open.
const (
	routerRequirements = 28
	nodeRequirements   = 13
	lastResolution     = 'w'
)

func requirements() (all []string) {
	for i := range routerRequirements {
		all = append(all, fmt.Sprintf("LKE-AR-%d", i+1))
	}
	for i := range nodeRequirements {
		all = append(all, fmt.Sprintf("LKE-MN-%d", i+1))
	}
	return all
}

func resolutions() (all []string) {
	for c := 'a'; c <= lastResolution; c++ {
		all = append(all, fmt.Sprintf("LKE-resolution-%c", c))
	}
	return all
}

// identifier finds whole names: LKE-AR-1 is not in LKE-AR-12. "LKE-resolution-e, -f" names both.
func identifier() *regexp.Regexp {
	return regexp.MustCompile(`LKE-(?:(?:AR|MN)-[0-9]+|resolution-[a-z])\b`)
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
	known := append(requirements(), resolutions()...)
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
	for _, id := range append(requirements(), resolutions()...) {
		if !seen[id] {
			t.Errorf("%s: %s is missing", document, id)
		}
	}
	if want := len(requirements()) + len(resolutions()); len(order) != want {
		t.Errorf("%s has %d rows, want %d", document, len(order), want)
	}
}

// TestEachResolutionIsExplained: docs/protocol.md has a heading for each, with more than a line below it.
func TestEachResolutionIsExplained(t *testing.T) {
	text := read(t, "docs/protocol.md")
	for c := 'a'; c <= lastResolution; c++ {
		_, rest, found := strings.Cut(text, fmt.Sprintf("\n### %c. ", c))
		if !found {
			t.Errorf("docs/protocol.md has no heading ### %c.", c)
			continue
		}
		_, body, _ := strings.Cut(rest, "\n")
		body, _, _ = strings.Cut(body, "\n#")
		for _, part := range []string{"**Open:**", "**Here:**", "**Why:**"} {
			if !strings.Contains(body, part) {
				t.Errorf("resolution %c has no part %s", c, part)
			}
		}
	}
}
