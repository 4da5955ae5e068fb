package netlab_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roamkey/roamkey/build/netlab"
	"github.com/roamkey/roamkey/build/netlab/netlabtest"
)

const roleVariable = "NETLAB_TEST_ROLE"

// TestMain also plays the programs that the tests start.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "holder": // makes a namespace with a program in it, says its pid, and waits to be killed
		os.Exit(holder())
	case "ordinary": // an ordinary user's program: enters a user namespace
		os.Exit(ordinary())
	}
	os.Exit(netlabtest.Main(m))
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// A packet goes host - router - server and an answer comes back: veth, addresses, routes, sysctls.
func TestPacketsCrossARouter(t *testing.T) {
	lab, ns := netlabtest.New(t, "host", "router", "server")
	host, router, server := ns[0], ns[1], ns[2]
	must(t,
		lab.Veth(netlab.End{NS: host, Name: "eth0"}, netlab.End{NS: router, Name: "left"}),
		lab.Veth(netlab.End{NS: router, Name: "right"}, netlab.End{NS: server, Name: "eth0"}),
		router.SetSysctl("net/ipv6/conf/all/forwarding", "1"),
		host.AddAddress("eth0", netip.MustParsePrefix("2001:db8:1::2/64")),
		router.AddAddress("left", netip.MustParsePrefix("2001:db8:1::1/64")),
		router.AddAddress("right", netip.MustParsePrefix("2001:db8:2::1/64")),
		server.AddAddress("eth0", netip.MustParsePrefix("2001:db8:2::2/64")),
		host.AddRoute(netip.MustParsePrefix("::/0"), netip.MustParseAddr("2001:db8:1::1"), "eth0"),
		server.AddRoute(netip.MustParsePrefix("2001:db8:1::/64"), netip.MustParseAddr("2001:db8:2::1"), "eth0"),
	)
	echo(t, host, server, "[2001:db8:2::2]:7")
}

// echo sends until an answer comes, for links need a moment before they carry packets.
func echo(t *testing.T, from, to *netlab.Namespace, address string) {
	t.Helper()
	var server net.PacketConn
	var client net.Conn
	must(t,
		to.Do(func() (err error) { server, err = net.ListenPacket("udp6", address); return err }),
		from.Do(func() (err error) { client, err = net.Dial("udp6", address); return err }),
	)
	defer server.Close()
	defer client.Close()
	go func() {
		buf := make([]byte, 64)
		for {
			n, peer, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(buf[:n], peer)
		}
	}()
	buf := make([]byte, 64)
	for deadline := time.Now().Add(4 * time.Second); time.Now().Before(deadline); {
		_, _ = client.Write([]byte("hello"))
		_ = client.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if n, err := client.Read(buf); err == nil && string(buf[:n]) == "hello" {
			return
		}
	}
	t.Fatalf("no answer from %s", address)
}

// A station that is replugged from one bridge to another reaches who is there and loses its carrier meanwhile.
func TestReplugMovesAStation(t *testing.T) {
	lab, ns := netlabtest.New(t, "air", "station", "first", "second")
	air, station, first, second := ns[0], ns[1], ns[2], ns[3]
	must(t,
		air.Bridge("one"), air.Bridge("two"),
		lab.Veth(netlab.End{NS: first, Name: "lan0"}, netlab.End{NS: air, Name: "p1"}),
		lab.Veth(netlab.End{NS: second, Name: "lan0"}, netlab.End{NS: air, Name: "p2"}),
		lab.Veth(netlab.End{NS: station, Name: "wlan0", Hardware: [6]byte{2, 0, 0, 0, 0, 9}}, netlab.End{NS: air, Name: "p9"}),
		air.SetMaster("p1", "one"), air.SetMaster("p2", "two"), air.SetMaster("p9", "one"),
		first.AddAddress("lan0", netip.MustParsePrefix("2001:db8::1/64")),
		second.AddAddress("lan0", netip.MustParsePrefix("2001:db8::2/64")),
		station.AddAddress("wlan0", netip.MustParsePrefix("2001:db8::9/64")),
	)
	echo(t, station, first, "[2001:db8::1]:7")

	carrier := make(chan bool, 1)
	go func() {
		lost := false
		for deadline := time.Now().Add(3 * time.Second); time.Now().Before(deadline) && !lost; time.Sleep(time.Millisecond) {
			l, err := station.Link("wlan0")
			lost = err == nil && l.Flags&unix.IFF_LOWER_UP == 0
		}
		carrier <- lost
	}()
	down, up, err := air.Replug("p9", "two", 60*time.Millisecond)
	must(t, err)
	if d := up.Sub(down); d < 60*time.Millisecond {
		t.Errorf("the carrier was away for %v, want 60 ms or more", d)
	}
	if !<-carrier {
		t.Error("the station never lost its carrier")
	}
	// Sending before the kernel has told of the carrier would lose the first solicitation, and a second with it.
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(time.Millisecond) {
		l, err := station.Link("wlan0")
		must(t, err)
		if l.Hardware != [6]byte{2, 0, 0, 0, 0, 9} {
			t.Fatalf("the station's interface is another: %+v", l)
		}
		if l.Flags&unix.IFF_RUNNING != 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the carrier did not come back: %+v", l)
		}
	}
	echo(t, station, second, "[2001:db8::2]:7")
}

// A program sees the devices of its namespace, in netlink and in /sys, and ends with it.
func TestProgramsRunInside(t *testing.T) {
	_, spaces := netlabtest.New(t, "inside")
	ns := spaces[0]
	must(t, ns.Bridge("br-inside"))
	out, err := ns.Run(5*time.Second, "/bin/ls", "/sys/class/net")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out, "br-inside") {
		t.Errorf("/sys/class/net in the namespace shows %q", out)
	}
	p, err := ns.Start(netlab.Command{Path: "/bin/sleep", Args: []string{"60"}})
	must(t, err, ns.Close())
	select {
	case <-p.Done():
	default:
		t.Error("the program outlived its namespace")
	}
	if err := ns.Do(func() error { return nil }); !errors.Is(err, netlab.ErrClosed) {
		t.Errorf("Do after Close gives %v", err)
	}
}

// Whatever happens to the process that made it, no namespace and no program stays: it is killed here.
func TestNothingIsLeftAfterAKill(t *testing.T) {
	netlabtest.New(t, "probe")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), roleVariable+"=holder")
	out, err := cmd.StdoutPipe()
	must(t, err, cmd.Start())
	scanner := bufio.NewScanner(out)
	if !scanner.Scan() {
		t.Fatal("the holder said nothing")
	}
	pid, err := strconv.Atoi(scanner.Text())
	must(t, err, syscall.Kill(pid, 0), cmd.Process.Kill())
	_ = cmd.Wait()
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		// An orphan is a zombie until init reaps it: state Z counts as gone.
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), ") X ") {
			return
		}
		if time.Now().After(deadline) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
			t.Fatal("a program outlived the process that made its namespace")
		}
	}
}

func holder() int {
	lab := netlab.New()
	ns, err := lab.Namespace("held")
	if err == nil {
		var p *netlab.Program
		if p, err = ns.Start(netlab.Command{Path: "/bin/sleep", Args: []string{"60"}}); err == nil {
			fmt.Println(p.PID())
			time.Sleep(time.Minute)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// An ordinary user gets the right in a user namespace, or one line that says to use sudo.
func TestOrdinaryUsersEnterAUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 || os.Getenv("NETLAB_IN_USER_NAMESPACE") != "" {
		t.Skip("this very run is one of an ordinary user")
	}
	program, err := os.ReadFile("/proc/self/exe")
	must(t, err)
	dir, err := os.MkdirTemp("/tmp", "netlab")
	must(t, err, os.Chmod(dir, 0o755))
	defer os.RemoveAll(dir)
	path := dir + "/program"
	must(t, os.WriteFile(path, program, 0o755))
	cmd := exec.Command(path)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), roleVariable+"=ordinary")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	text := strings.TrimSpace(string(out))
	switch {
	case err == nil && strings.HasPrefix(text, "namespace made, TUN "):
		if strings.Contains(text, "TUN missing") && !strings.Contains(text, "use sudo") {
			t.Errorf("where TUN is missing the error has to say what to do: %q", text)
		}
	case err != nil && strings.Contains(text, "use sudo") && !strings.Contains(text, "\n"):
	default:
		t.Errorf("%v: %q", err, text)
	}
}

func ordinary() int {
	code, done, err := netlab.Enter()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if done {
		return code
	}
	lab := netlab.New()
	defer lab.Close()
	ns, err := lab.Namespace("mine")
	if err != nil {
		fmt.Println(err)
		return 1
	}
	if err := ns.CheckTUN(); err != nil {
		fmt.Println("namespace made, TUN missing:", err)
		return 0
	}
	fmt.Println("namespace made, TUN there")
	return 0
}

// A packet takes the line's delay in each direction.
func TestALongLineDelays(t *testing.T) {
	lab, ns := netlabtest.New(t, "a", "b")
	a, b := ns[0], ns[1]
	if err := a.CheckTUN(); err != nil {
		t.Skip(err)
	}
	const delay = 40 * time.Millisecond
	line, err := lab.Line(netlab.End{NS: a, Name: "long0"}, netlab.End{NS: b, Name: "long0"}, delay)
	must(t, err)
	defer line.Close()
	must(t,
		a.AddAddress("long0", netip.MustParsePrefix("2001:db8::a/64")),
		b.AddAddress("long0", netip.MustParsePrefix("2001:db8::b/64")),
	)
	echo(t, a, b, "[2001:db8::b]:7")
	var server net.PacketConn
	var client net.Conn
	must(t,
		b.Do(func() (err error) { server, err = net.ListenPacket("udp6", "[2001:db8::b]:8"); return err }),
		a.Do(func() (err error) { client, err = net.Dial("udp6", "[2001:db8::b]:8"); return err }),
	)
	defer server.Close()
	defer client.Close()
	for i := range 5 {
		if _, err := client.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	buf := make([]byte, 8)
	for i := range 5 {
		must(t, server.SetReadDeadline(begin.Add(3*time.Second)))
		if _, _, err := server.ReadFrom(buf); err != nil || buf[0] != byte(i) {
			t.Fatalf("packet %d came as %d (%v)", i, buf[0], err)
		}
	}
	if took := time.Since(begin); took < delay*9/10 {
		t.Errorf("the packets took %v", took)
	}
}
