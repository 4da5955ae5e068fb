package docs

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

// anchors gives what headings of a document can be linked by, as they are made of the words of a heading.
func anchors(text string) map[string]bool {
	found := make(map[string]bool)
	drop := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	fenced := false
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "```") {
			fenced = !fenced
		}
		if fenced || !strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.ToLower(strings.TrimSpace(strings.TrimLeft(line, "#")))
		found[strings.ReplaceAll(drop.ReplaceAllString(words, ""), " ", "-")] = true
	}
	return found
}

// TestLinksLeadSomewhere: to a file of the project, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)\s]+)\)|(?:src|href)="([^"]+)"`)
	count := 0
	for _, f := range matching(t, "*.md") {
		text := read(t, f)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			target := m[1] + m[2]
			if strings.Contains(target, "://") {
				continue
			}
			count++
			name, anchor, _ := strings.Cut(target, "#")
			to := f
			if name != "" {
				to = path.Join(path.Dir(f), name)
			}
			if strings.HasPrefix(to, "..") || !exists(to) {
				t.Errorf("%s: %s leads nowhere", f, target)
				continue
			}
			if anchor != "" && !anchors(read(t, to))[anchor] {
				t.Errorf("%s: %s has no heading #%s", f, to, anchor)
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d links were tried", count)
	}
}

// TestDocumentsAreThere and each of them is reached from the README.
func TestDocumentsAreThere(t *testing.T) {
	readme := read(t, "README.md")
	for _, f := range []string{
		"CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "docs/protocol.md", "docs/send.md", "docs/fast.md", "docs/requirements.md",
		"docs/architecture.md", "docs/operating.md", "docs/security.md", "docs/demo.svg", "docs/ladder.svg",
	} {
		if !exists(f) {
			t.Errorf("%s is missing", f)
		}
		if !strings.Contains(readme, "("+f+")") && !strings.Contains(readme, "\""+f+"\"") {
			t.Errorf("README.md does not lead to %s", f)
		}
	}
	for document, picture := range map[string]string{"docs/architecture.md": "house.svg", "docs/fast.md": "fast.svg"} {
		if !strings.Contains(read(t, document), "("+picture+")") {
			t.Errorf("%s does not show %s", document, picture)
		}
	}
}

// TestLinkedTestsExist: where a document leads to a test, the file has it.
func TestLinkedTestsExist(t *testing.T) {
	link := regexp.MustCompile(`\[((?:Test|Fuzz)\w+)\]\(([^)#]+_test\.go)\)`)
	count := 0
	for _, f := range matching(t, "*.md") {
		for _, m := range link.FindAllStringSubmatch(read(t, f), -1) {
			count++
			if to := path.Join(path.Dir(f), m[2]); !exists(to) || !strings.Contains(read(t, to), "func "+m[1]+"(") {
				t.Errorf("%s: there is no %s in %s", f, m[1], to)
			}
		}
	}
	if count < 100 {
		t.Errorf("only %d tests are linked to", count)
	}
}

// TestEachPackageHasItsPlace in the table of docs/architecture.md, and each place its package.
func TestEachPackageHasItsPlace(t *testing.T) {
	packages := make(map[string]bool)
	for _, f := range matching(t, "*.go") {
		packages[path.Dir(f)] = true
	}
	described := make(map[string]bool)
	for _, rows := range tables(read(t, "docs/architecture.md")) {
		for _, r := range rows {
			if name, ok := code(r.cells[0]); ok && strings.HasSuffix(name, "/") {
				described[strings.TrimSuffix(name, "/")] = true
			}
		}
	}
	for name := range packages {
		if path.Base(name) == "fake" {
			continue // beside its driver
		}
		if !described[name] {
			t.Errorf("docs/architecture.md does not say what %s/ is", name)
		}
	}
	for name := range described {
		if !exists(name) {
			t.Errorf("docs/architecture.md tells of %s/, which does not exist", name)
		}
	}
}

// TestFloors: a core imports no driver and no driver a core, and neither imports anything above.
func TestFloors(t *testing.T) {
	imported := regexp.MustCompile(`"github\.com/roamkey/roamkey/([^"]+)"`)
	cores := []string{"ipv6", "ndp", "mipsec"}
	for _, f := range matching(t, "*.go") {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		core, driver := under(f, cores...), under(f, "drivers")
		for _, m := range imported.FindAllStringSubmatch(read(t, f), -1) {
			to := m[1] + "/"
			switch {
			case core && !under(to, cores...),
				driver && !under(to, "drivers", "ipv6", "ndp", "mipsec/mobility"),
				driver && under(to, "ndp/advertise"),
				under(f, "firmware") && under(to, "build"):
				t.Errorf("%s imports %s, which is not below it", f, m[1])
			}
		}
	}
}

// under reports whether a path is in one of the directories.
func under(name string, directories ...string) bool {
	for _, d := range directories {
		if strings.HasPrefix(name, d+"/") {
			return true
		}
	}
	return false
}

// TestCommandsExist: the make targets and the subcommands that the documents name.
func TestCommandsExist(t *testing.T) {
	targets := regexp.MustCompile(`(?m)^([a-z]+)[^:=\n]*:(?:[^=]|$)`)
	known := make(map[string]bool)
	for _, m := range targets.FindAllStringSubmatch(read(t, "Makefile"), -1) {
		known["make "+m[1]] = true
	}
	commands := map[string]string{"roamkeyd": "firmware/roamkeyd", "roamkey-mn": "firmware/roamkey-mn"}
	inText := regexp.MustCompile("`(make|roamkeyd|roamkey-mn) ([a-z]+)\\b")
	inExample := regexp.MustCompile(`^(?:\$ |sudo )?(make|roamkeyd|roamkey-mn) ([a-z]+)\b`)
	count := 0
	for _, f := range matching(t, "*.md") {
		fenced := false
		for line := range strings.SplitSeq(read(t, f), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
			}
			use := inText
			if fenced {
				use = inExample
			}
			for _, m := range use.FindAllStringSubmatch(line, -1) {
				count++
				dir, program := commands[m[1]]
				switch {
				case !program && !known[m[1]+" "+m[2]]:
					t.Errorf("%s: there is no make %s", f, m[2])
				case program && !hasCommand(t, dir, m[2]):
					t.Errorf("%s: %s has no command %s", f, m[1], m[2])
				}
			}
		}
	}
	if count < 20 {
		t.Errorf("only %d commands were looked up", count)
	}
}

// hasCommand reports whether a program's sources have a subcommand of that name.
func hasCommand(t *testing.T, dir, name string) bool {
	t.Helper()
	for _, f := range matching(t, "*.go") {
		if path.Dir(f) != dir || strings.HasSuffix(f, "_test.go") {
			continue
		}
		if regexp.MustCompile(`(?:name:\s+"` + name + `"|"` + name + `":\s+\w+,)`).MatchString(read(t, f)) {
			return true
		}
	}
	return false
}
