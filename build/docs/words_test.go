package docs

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// finding is a line of a file that says what it should not.
type finding struct {
	file string
	line int
	what string
}

func (f finding) String() string { return fmt.Sprintf("%s:%d: %s", f.file, f.line, f.what) }

// strangers finds in a text paths that no machine but the writer's has, paths out of the project, and hosts that are not
// of the public web that documents cite.
func strangers(file, text string, own []string) (all []finding) {
	// Where people and build machines keep what they work on.
	private := []string{
		"home", "root", "Users", "opt", "srv", "mnt", "media", "data", "build", "builds", "work", "workspace", "workdir", "repo", "repos",
		"src", "checkout", "project", "projects", "app", "github",
	}
	hosts := []string{
		"github.com", "www.w3.org", "www.apache.org", "www.rfc-editor.org", "datatracker.ietf.org", "go.dev", "openwrt.org",
		"keepachangelog.com", "semver.org", "www.openwrt.org", "example.org",
	}
	absolute := regexp.MustCompile("(?:^|[\\s\"'`(=<>,:])/([A-Za-z][\\w.-]*)/[\\w.-]")
	outward := regexp.MustCompile(`(?:\.\./)+`)
	url := regexp.MustCompile(`\b[a-z][a-z0-9+]*://([\w.-]+)`)
	proxy := regexp.MustCompile(`\b(?:GOPROXY|GOSUMDB|GONOSUMDB|GOPRIVATE|GOINSECURE)\b`)
	deep := strings.Count(file, "/")
	for i, line := range strings.Split(text, "\n") {
		add := func(format string, args ...any) {
			all = append(all, finding{file, i + 1, fmt.Sprintf(format, args...)})
		}
		for _, m := range absolute.FindAllStringSubmatch(line, -1) {
			if slices.Contains(private, m[1]) {
				add("a path below /%s is one of some machine", m[1])
			}
		}
		for _, m := range outward.FindAllString(line, -1) {
			if strings.Count(m, "/") > deep+1 || strings.Count(m, "/") > deep && !strings.HasSuffix(file, ".go") {
				add("%q leads out of the project", m)
			}
		}
		for _, m := range url.FindAllStringSubmatch(line, -1) {
			if !slices.Contains(hosts, m[1]) {
				add("the host %s is not one that documents cite", m[1])
			}
		}
		if m := proxy.FindString(line); m != "" {
			add("%s is for whoever builds to set", m)
		}
		for _, o := range own {
			if strings.Contains(line, o) {
				add("it names a directory of this machine")
			}
		}
	}
	return all
}

// TestNoFileTellsWhereItWasWritten.
func TestNoFileTellsWhereItWasWritten(t *testing.T) {
	here, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	own := []string{here}
	if home, err := os.UserHomeDir(); err == nil && len(home) > 1 {
		own = append(own, home+"/")
	}
	for _, f := range projectFiles(t) {
		text := read(t, f)
		if !utf8.ValidString(text) || f == ".gitignore" || path.Dir(f) == "build/docs" && strings.HasSuffix(f, "_test.go") {
			continue // a picture or a corpus, or the words that are looked for
		}
		for _, found := range strangers(f, text, own) {
			t.Error(found)
		}
	}
}

// TestStrangersAreFound: what the test above looks for it would find.
func TestStrangersAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"see /home/someone/notes":                    true,
		"see \"/builds/x/y\"":                        true,
		"cat /etc/config/roamkey":                    false,
		"BU/BA, 2001:db8::/64 and a/b/c":             false,
		"git clone https://mirror.somewhere.test/go": true,
		"RFC 4861: https://www.rfc-editor.org/":      false,
		"export GOPROXY=off":                         true,
		"read ../../other/file":                      true,
		"read ../testdata/vectors.json":              false,
		"it lies in /var/own/checkout now":           true,
		"path + \"/brport/isolated\"":                false,
	} {
		found := strangers("docs/some.md", text, []string{"own/checkout"})
		if (len(found) > 0) != want {
			t.Errorf("%q: found %v, want some: %v", text, found, want)
		}
	}
}

// TestDocumentsFitTheirReaders: prose in lines that an editor shows, examples of consoles in 80 columns.
func TestDocumentsFitTheirReaders(t *testing.T) {
	const prose, console = 120, 80
	for _, f := range matching(t, "*.md") {
		fenced := false
		for i, line := range strings.Split(read(t, f), "\n") {
			if strings.HasPrefix(line, "```") {
				fenced = !fenced
				continue
			}
			n := utf8.RuneCountInString(line)
			switch {
			case fenced && n > console:
				t.Errorf("%s:%d has %d columns, a console has %d", f, i+1, n, console)
			case !fenced && n > prose && !strings.HasPrefix(line, "|"):
				t.Errorf("%s:%d has %d columns, want at most %d", f, i+1, n, prose)
			}
		}
		if fenced {
			t.Errorf("%s: an example does not end", f)
		}
	}
}
