package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// root is the project's directory, as tests of this package run in theirs.
const root = "../.."

// projectFiles gives all files of the project by their paths from root, with slashes. What make builds is left out.
func projectFiles(t *testing.T) []string {
	t.Helper()
	built := map[string]bool{".git": true, "bin": true, "out": true, "build/cache": true}
	var files []string
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case entry.IsDir() && built[rel]:
			return filepath.SkipDir
		case entry.Type().IsRegular():
			files = append(files, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 100 {
		t.Fatalf("the project has only %d files: is %s its directory?", len(files), root)
	}
	return files
}

// read gives a file of the project.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// exists reports whether there is a file or directory of that path from root.
func exists(name string) bool {
	_, err := os.Stat(filepath.Join(root, filepath.FromSlash(name)))
	return err == nil
}

// matching gives the files whose base names match a pattern.
func matching(t *testing.T, pattern string) []string {
	t.Helper()
	var found []string
	for _, f := range projectFiles(t) {
		if ok, err := path.Match(pattern, path.Base(f)); err != nil {
			t.Fatal(err)
		} else if ok {
			found = append(found, f)
		}
	}
	return found
}

// row is a row of a table: its cells without blanks around them.
type row struct {
	cells []string
	line  int
}

// tables gives the rows of the tables under each heading of a document, without head rows. A heading's text comes without
// its marks; a document's part before the first heading is "".
func tables(text string) map[string][]row {
	found := make(map[string][]row)
	heading := ""
	body := false // below the line of dashes
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimSpace(strings.TrimLeft(line, "#"))
		case !strings.HasPrefix(line, "|"):
			body = false
		case strings.Trim(line, "|-: ") == "":
			body = true
		case body:
			var cells []string
			for cell := range strings.SplitSeq(strings.Trim(line, "|"), "|") {
				cells = append(cells, strings.TrimSpace(cell))
			}
			found[heading] = append(found[heading], row{cells, i + 1})
		}
	}
	return found
}

// code gives what stands between the only two back quotes of a cell.
func code(cell string) (string, bool) {
	inner, ok := strings.CutPrefix(cell, "`")
	if !ok || !strings.HasSuffix(inner, "`") {
		return "", false
	}
	inner = strings.TrimSuffix(inner, "`")
	return inner, !strings.Contains(inner, "`")
}
