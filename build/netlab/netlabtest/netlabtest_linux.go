package netlabtest

import (
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"github.com/roamkey/roamkey/build/netlab"
)

// Patience bounds each wait of a test; none is expected to come near it.
const Patience = 5 * time.Second

// Main runs the tests of a package, as an ordinary user in a user namespace, and gives the exit code. Where this machine
// allows an ordinary user none, the tests run all the same, and those that need a namespace are treated as New says.
func Main(m *testing.M) (code int) {
	if code, done, err := netlab.Enter(); done {
		return code
	} else if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return m.Run()
}

// Missing ends a test for want of something that this machine lacks. It is skipped with what is said; with CI=true, where
// all there is to test has to be tested, it fails.
func Missing(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// New gives a lab with namespaces of the given names, in their order. It ends with the test. Where this process may make
// no namespaces the test ends as Missing says.
func New(t testing.TB, names ...string) (*netlab.Lab, []*netlab.Namespace) {
	t.Helper()
	lab := netlab.New()
	t.Cleanup(func() { lab.Close() })
	var spaces []*netlab.Namespace
	for _, name := range names {
		ns, err := lab.Namespace(name)
		if errors.Is(err, os.ErrPermission) {
			Missing(t, "this test needs network namespaces, and so root: %v", err)
		}
		if err != nil {
			t.Fatalf("this test needs network namespaces: %v", err)
		}
		spaces = append(spaces, ns)
	}
	return lab, spaces
}

// Open opens a socket, or what has sockets, in a namespace. It is closed with the test.
func Open[T io.Closer](t testing.TB, ns *netlab.Namespace, open func() (T, error)) (opened T) {
	t.Helper()
	if err := ns.Do(func() (err error) {
		opened, err = open()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened
}

// Capture captures what arrives at a namespace until the test ends.
func Capture(t testing.TB, ns *netlab.Namespace) *netlab.Capture {
	t.Helper()
	c, err := ns.Capture()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// Await waits for a condition.
func Await(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(Patience); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Counter reads one of a driver's counters, which has to be there.
func Counter(t testing.TB, of interface{ Counters(func(string, uint64)) }, name string) (value uint64) {
	t.Helper()
	found := false
	of.Counters(func(n string, v uint64) {
		if n == name {
			value, found = v, true
		}
	})
	if !found {
		t.Fatalf("there is no counter %s", name)
	}
	return value
}
