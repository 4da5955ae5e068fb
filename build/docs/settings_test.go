package docs

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/roamkey/roamkey/firmware/config"
)

const settingsDocument = "README.md"

// setting is one option: whether it is a list, and its default in the form of a file.
type setting struct {
	list    bool
	def     string
	hasNone bool // there is no default; what stands in the reference is an example
}

// referenceSettings reads the options of the reference by section and name: "link.device".
func referenceSettings(t *testing.T) map[string]setting {
	t.Helper()
	statement := regexp.MustCompile(`(?m)^\t?(#?)(config|option|list) (\w+)(?: '([^'\n]*)')?( # example)?$`)
	found := make(map[string]setting)
	section := ""
	for _, m := range statement.FindAllStringSubmatch(config.Reference(), -1) {
		if m[2] == "config" {
			section = m[3]
			continue
		}
		name := section + "." + m[3]
		if old, twice := found[name]; twice && !old.list {
			t.Errorf("the reference has %s twice", name)
		}
		found[name] = setting{list: m[2] == "list", def: m[4], hasNone: m[5] != "" || m[1] == ""}
	}
	return found
}

// TestSettingsTableIsTheReference: under a heading such as "config link" each row has name, type, default and text.
func TestSettingsTableIsTheReference(t *testing.T) {
	want := referenceSettings(t)
	if len(want) < 55 {
		t.Fatalf("the reference has only %d options", len(want))
	}
	types := regexp.MustCompile(`^(list of )?(bool|number|time|path|text|name|address|addresses|prefix|prefixes|route|routes|domain|domains|MTU|choice|choices|hardware)$`)
	seen := make(map[string]bool)
	for heading, rows := range tables(read(t, settingsDocument)) {
		section, ok := strings.CutPrefix(strings.Trim(heading, "`"), "config ")
		if !ok {
			continue
		}
		for _, r := range rows {
			option, ok := code(r.cells[0])
			if !ok || len(r.cells) != 4 || r.cells[3] == "" {
				t.Errorf("%s:%d: want an option, its type, its default and a text", settingsDocument, r.line)
				continue
			}
			name := section + "." + option
			s, known := want[name]
			if !known {
				t.Errorf("%s:%d: there is no option %s", settingsDocument, r.line, name)
				continue
			}
			if seen[name] {
				t.Errorf("%s:%d: %s stands there twice", settingsDocument, r.line, name)
			}
			seen[name] = true
			if !types.MatchString(r.cells[1]) || strings.HasPrefix(r.cells[1], "list of") != s.list {
				t.Errorf("%s:%d: type %q of %s, a list: %v", settingsDocument, r.line, r.cells[1], name, s.list)
			}
			def, isCode := code(r.cells[2])
			switch {
			case s.hasNone && r.cells[2] != "none":
				t.Errorf("%s:%d: the default of %s is %s, the reference has none", settingsDocument, r.line, name, r.cells[2])
			case !s.hasNone && (!isCode || def != s.def):
				t.Errorf("%s:%d: the default of %s is %s, the reference has %q", settingsDocument, r.line, name, r.cells[2], s.def)
			}
		}
	}
	for name := range want {
		if !seen[name] {
			t.Errorf("%s: option %s is missing", settingsDocument, name)
		}
	}
}

// TestOptionsOfTheNextStart: docs/operating.md names those that a reload does not take over, as the daemon does.
func TestOptionsOfTheNextStart(t *testing.T) {
	_, code, found := strings.Cut(read(t, "firmware/daemon/reload.go"), "\nfunc fixed(")
	code, _, _ = strings.Cut(code, "\n}\n")
	_, text, told := strings.Cut(read(t, "docs/operating.md"), "\nA reload (SIGHUP) ")
	text, _, _ = strings.Cut(text, "A file with errors")
	if !found || !told {
		t.Fatal("the function fixed, or the paragraph on a reload, is not there any more")
	}
	names := func(pattern, in string) (all []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(in, -1) {
			all = append(all, m[1])
		}
		slices.Sort(all)
		return all
	}
	want, got := names(`\{"([a-z_]+)",`, code), names("`([a-z_]+)`", text)
	if len(want) < 5 || !slices.Equal(got, want) {
		t.Errorf("docs/operating.md names %v, the daemon %v", got, want)
	}
}
