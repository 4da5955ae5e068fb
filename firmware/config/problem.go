package config

import (
	"strconv"
	"strings"
)

// Position is a place in a file. Line 0 stands for the file as a whole.
type Position struct {
	File string
	Line int
}

// String gives FILE:LINE, or FILE alone.
func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + itoa(p.Line)
}

// Problem is one thing that is wrong with the settings: where, what, and what would be right.
type Problem struct {
	Position
	Where string // the section and option, such as "link lan, option hop_limit"; empty for what concerns a whole line
	What  string
	Fix   string
}

// Error gives everything on one line.
func (p Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Position.String())
	b.WriteString(": ")
	if p.Where != "" {
		b.WriteString(p.Where)
		b.WriteString(": ")
	}
	b.WriteString(p.What)
	if p.Fix != "" {
		b.WriteString(": ")
		b.WriteString(p.Fix)
	}
	return b.String()
}

// Problems are all that was found in one file, by line. As an error it has one line for each.
type Problems []Problem

// Error gives one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// Len, Less and Swap let problems be sorted by line.
func (ps Problems) Len() int           { return len(ps) }
func (ps Problems) Less(i, j int) bool { return ps[i].Line < ps[j].Line }
func (ps Problems) Swap(i, j int)      { ps[i], ps[j] = ps[j], ps[i] }

// fault is what a reader of one value finds wrong with it.
type fault struct{ what, fix string }

// quote shows a value that a person wrote. Control characters are escaped, so that a file cannot steer the terminal
// that shows its errors, and a long value is cut.
func quote(s string) string {
	const longest = 48
	if len(s) > longest {
		s = s[:longest-3] + "..."
	}
	shown := strconv.QuoteToASCII(s)
	return "'" + strings.ReplaceAll(shown[1:len(shown)-1], `\"`, `"`) + "'"
}

func itoa(n int) string { return strconv.Itoa(n) }

// didYouMean gives "; did you mean X?" for the candidate that is nearest to a word, or "" where none is near.
func didYouMean(s string, candidates []string) string {
	if best := nearest(s, candidates); best != "" {
		return "; did you mean " + best + "?"
	}
	return ""
}

// nearest gives the candidate with the least edit distance to s, if that is small for its length.
func nearest(s string, candidates []string) string {
	if len(s) > 64 {
		return ""
	}
	s = strings.ReplaceAll(strings.ToLower(s), "-", "_")
	best, least := "", 1+max(1, len(s)/3)
	for _, c := range candidates {
		if d := distance(s, c); d < least {
			best, least = c, d
		}
	}
	return best
}

// distance counts the single-character changes, insertions and deletions between a and b.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
