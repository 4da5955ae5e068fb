package daemon

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/drivers/forward"
	"github.com/roamkey/roamkey/drivers/guard"
	"github.com/roamkey/roamkey/drivers/hold"
	"github.com/roamkey/roamkey/drivers/hostnet"
	"github.com/roamkey/roamkey/drivers/neighbors"
	"github.com/roamkey/roamkey/drivers/rawip"
	"github.com/roamkey/roamkey/firmware/config"
	"github.com/roamkey/roamkey/firmware/control"
	"github.com/roamkey/roamkey/firmware/journal"
	"github.com/roamkey/roamkey/mipsec/fmip"
	"github.com/roamkey/roamkey/mipsec/handoverkey"
	"github.com/roamkey/roamkey/mipsec/lke"
	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
	"github.com/roamkey/roamkey/ndp/advertise"
	"github.com/roamkey/roamkey/ndp/certpath"
)

// Options are what Run needs.
type Options struct {
	Config     *config.Config
	ConfigPath string // read again at a reload
	Log        *slog.Logger
	Level      *slog.LevelVar // of Log, which a reload may change; nil if it cannot be
	Version    string
	Etc        string // where other programs' settings are; "" is /etc
}

// Stop says how Run is to end.
type Stop uint8

// Ways to end. A real stop says goodbye: final router advertisements, no forwarding, no keys left behind. A handover to the
// next process (an upgrade in place) leaves all that a crash would leave, so that the next start goes on.
const (
	StopReal Stop = iota
	StopForRestart
)

// Daemon is the running daemon. Everything in it belongs to the goroutine of loop.
type Daemon struct {
	options Options
	config  *config.Config
	log     *slog.Logger
	started time.Time
	now     func() time.Time

	host    hostnet.View
	socket  rawip.Conn
	guard   *guard.Guard // nil where the kernel has no nftables
	forward forward.Forwarder
	engine  engine.Jobs
	journal *journal.Journal
	router  *lke.Router

	lkeKey     *rsa.PrivateKey
	publicKey  []byte // SPKI, as it stands in advertisements
	modulusLen int

	// What only links with SEND need; nil where there is none.
	identity      *identity
	operations    *engine.Software // that sign with its key
	neighbors     neighbors.Driver
	hold          hold.Holder
	chains        []certpath.Chain
	noCertificate error            // why chains is empty
	endpoints     map[uint32]*link // by owner of RSA jobs
	lastOwner     uint32

	keys     *handoverkey.Router
	fast     *fmip.Router
	peerKeys map[string][]byte        // by name of the neighbour
	updated  map[netip.Addr]time.Time // when the Fast Binding Update came that is being worked on

	links   []*link
	leaving []*link   // those that the settings name no more, as long as they say goodbye
	settles time.Time // when a link that is held back has waited long enough; zero: none is
	byIndex map[int]*link
	own     map[netip.Addr]bool // this router's addresses on served links
	linked  bool                // serve was called at least once
	stale   map[string][]advertise.Record

	inputs     []lke.Input // of the LKE router that wait for their turn
	fastInputs []fmip.Input
	recordBuf  []byte
	received   time.Time               // when the packet that is being handled was read; zero between packets
	errors     bucket                  // mobility headers that are answered with an error
	events     bucket                  // events that are logged
	redirects  bucket                  // redirects that are said
	told       uint64                  // of counters.unlogged, in the log
	faults     [mobility.Faults]uint64 // mobility headers that no core owned, by mobility.Fault
	counters   counters
	handovers  handovers
	said       map[string]time.Time // complaints, so that one that repeats does not fill the log
	findings   []control.Finding    // what was found at start and stays true
	restart    *control.Restart     // what was taken up at start; nil if nothing
	control    *control.Server
	garbage    *collector
	workers    int

	accessPoints map[string]accessPoints // by device: what their settings hide
	accessRead   time.Time

	asked   chan func()
	context context.Context // ends with the daemon; for what goes on in the background
}

// counters are the daemon's own; each driver and core keeps its own beside them.
type counters struct {
	unsaved    uint64 // steps cut short because a record could not be written
	unsent     uint64 // packets that could not be sent
	unserved   uint64 // packets of a link that is not served (any more)
	unexpected uint64 // packets of a kind that nobody asked for
	unwritten  uint64 // neighbour entries that could not be written
	foreign    uint64 // mobility headers for somebody else
	unlogged   uint64 // events that were too many for the log

	redirects          uint64 // redirects of the kernel's that were given to be signed
	redirectForm       uint64 // those that were none, or not from an address of ours
	redirectLimited    uint64 // those that were too many
	redirectUnresolved uint64 // those to hosts whose link-layer address is still to be found out
}

// Run runs the daemon until ctx ends. stop is asked then how to end; reload gives a value for each reload that is asked for.
func Run(ctx context.Context, o Options, reload <-chan os.Signal, stop func() Stop) (err error) {
	d := newDaemon(o)
	// The locks come first: there may be one daemon only.
	if err := d.listen(); err != nil {
		return err
	}
	defer d.control.Close()
	release, err := claim()
	if err != nil {
		return err
	}
	defer release()
	if err := takeTurns(); err != nil { // a jail may refuse it
		d.log.Debug("turns of threads", "err", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d.context = ctx
	if err := d.open(); err != nil {
		// What was there before stays for the next start that succeeds, or belongs to a daemon that runs.
		how := StopReal
		if d.guard.TookOver() {
			how = StopForRestart
		}
		return errors.Join(err, d.close(how))
	}
	defer func() { err = errors.Join(err, d.close(stop())) }()
	go d.control.Serve(ctx)
	go d.reloads(ctx, reload)
	d.log.Info("running", "version", o.Version, "links", len(d.links), "tunnel", d.forward.Describe().Backend)
	return d.loop(ctx)
}

func newDaemon(o Options) *Daemon {
	d := &Daemon{
		options: o, config: o.Config, log: o.Log, now: bootTime, said: make(map[string]time.Time),
		stale: make(map[string][]advertise.Record), asked: make(chan func()),
		endpoints: make(map[uint32]*link), lastOwner: ownerLinks, updated: make(map[netip.Addr]time.Time), context: context.Background(),
		errors: bucket{rate: 10, burst: 20},
		events: bucket{rate: 10, burst: 100}, redirects: bucket{rate: 10, burst: 20},
	}
	if d.options.Etc == "" {
		d.options.Etc = "/etc"
	}
	d.garbage = newCollector()
	d.started = d.now()
	d.handovers.now = d.now
	return d
}

// open opens the drivers, bottom up, and takes up what an earlier process left.
func (d *Daemon) open() error {
	g := &d.config.Global
	if err := privileged(); err != nil {
		return err
	}
	if err := os.MkdirAll(g.StateDir, 0o750); err != nil {
		return fmt.Errorf("make state directory: %w; make it by hand, writable by the user that roamkeyd runs as", err)
	}
	key, err := engine.LoadKey(g.LKEKey)
	if err != nil {
		return err
	}
	d.lkeKey = key
	d.operations = engine.NewSoftware(key, nil, padding(d.config.LKE.Padding), rand.Reader)
	if secures(d.config) {
		if err := d.takeIdentity(); err != nil {
			return err
		}
	}
	// Only what is open is kept: close would take the nil pointer of a failed Open for something to be closed.
	host, err := hostnet.Open()
	if err != nil {
		return err
	}
	d.host = host
	socket, err := rawip.Open(rawip.Config{})
	if err != nil {
		return err
	}
	d.socket = socket
	if d.guard, err = guard.Open(); err != nil {
		d.found(control.Warning, fmt.Sprintf("the kernel may answer packets that are for roamkeyd: %v", err), "install kmod-nft-core")
		d.guard = nil
	}
	if d.forward, err = forward.Open(forward.Config{Backend: forward.Backend(g.Tunnel), Device: g.TunnelDevice, MTU: g.TunnelMTU}, d.guard); err != nil {
		return err
	}
	if d.identity != nil {
		if err := d.openSecure(); err != nil {
			return err
		}
	}
	for _, reason := range append(d.guard.Reasons(), d.forward.Describe().Reasons...) {
		d.found(control.Note, reason, "")
	}
	if d.workers = g.Workers; d.workers == 0 {
		d.workers = engine.Workers()
	}
	runtime.GOMAXPROCS(max(runtime.GOMAXPROCS(0), engine.Procs(d.workers)))
	d.engine = engine.New(yielding{d.operations}, d.workers, g.Queue)
	return d.begin(&key.PublicKey)
}

func padding(name string) engine.Padding {
	if name == "oaep" {
		return engine.OAEP
	}
	return engine.PKCS1v15
}

// begin starts the cores on drivers that are open.
func (d *Daemon) begin(key *rsa.PublicKey) error {
	if err := d.useKey(key); err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	var entries []journal.Entry
	var dropped int64
	if d.journal, entries, dropped, err = journal.Open(d.config.Global.StateDir, boot); err != nil {
		return err
	}
	if dropped > 0 {
		d.log.Warn("dropped a torn entry at the end of the journal", "octets", dropped)
	}
	for _, l := range d.config.Links {
		d.links = append(d.links, &link{config: l})
	}
	d.takePeerKeys()
	d.router = lke.NewRouter(d.routerConfig())
	d.keys = handoverkey.NewRouter(d.keysConfig())
	d.fast = fmip.NewRouter(d.fastConfig())
	return d.restore(entries)
}

// useKey takes the RSA key whose public half nodes encrypt for.
func (d *Daemon) useKey(key *rsa.PublicKey) error {
	spki, err := ndp.MarshalSPKI(ndp.PublicKey{Modulus: key.N.Bytes(), Exponent: key.E})
	if err != nil {
		return fmt.Errorf("public key of %s: %w", d.config.Global.LKEKey, err)
	}
	d.publicKey, d.modulusLen = spki, key.Size()
	return nil
}

// routerConfig is the LKE core's part of the settings, with the links that are served now.
func (d *Daemon) routerConfig() lke.RouterConfig {
	c := &d.config.LKE
	rc := lke.RouterConfig{
		ModulusLen: d.modulusLen, MaxLifetime: c.MaxLifetime, MaxNodes: d.nodeLimit(),
		RequestInterval: c.RequestInterval, RequestBackoffMax: c.RequestBackoffMax,
		DADTransmits: c.DADTransmits, RetransTimer: c.RetransTimer,
		RequestFinished: c.RequestFinished, FinishedTimeout: c.FinishedTimeout, MaxBinding: c.MaxBinding,
		CodePoints: d.config.CodePoints.Mobility, NDCodePoints: d.config.CodePoints.ND,
		Rand: rand.Reader,
	}
	for _, l := range d.links {
		if l.served.Index != 0 {
			rc.Links = append(rc.Links, l.served)
		}
	}
	return rc
}

// close ends the daemon. What a real stop takes away, a stop for a restart leaves to the next process.
func (d *Daemon) close(how Stop) error {
	var errs []error
	if how == StopReal && d.socket != nil {
		d.goodbye()
	}
	leave := how == StopForRestart
	if d.hold != nil {
		errs = append(errs, d.hold.Close())
	}
	if d.neighbors != nil {
		if leave {
			errs = append(errs, d.neighbors.Leave())
		} else {
			errs = append(errs, d.neighbors.Close())
		}
	}
	if d.engine != nil {
		d.engine.Close()
	}
	if d.forward != nil {
		errs = append(errs, d.forward.Close(leave))
	}
	if d.guard != nil {
		errs = append(errs, d.guard.Close(leave))
	}
	if d.socket != nil {
		errs = append(errs, d.socket.Close())
	}
	if d.host != nil {
		errs = append(errs, d.host.Close())
	}
	if d.journal != nil {
		if leave {
			errs = append(errs, d.journal.Close())
		} else {
			errs = append(errs, d.journal.Remove())
		}
	}
	return errors.Join(errs...)
}
