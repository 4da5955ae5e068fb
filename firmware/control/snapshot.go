package control

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math"
	"net/netip"
	"strconv"
	"time"
)

// MaxListed is how many associations a snapshot lists at the most; it always counts all.
const MaxListed = 256

// Snapshot is what status says. It has no key in it. Ages and rests are durations, as a router's clock may be wrong.
type Snapshot struct {
	Version   string     `json:"version"`
	PID       int        `json:"pid"`
	Uptime    Seconds    `json:"uptime_s"`
	Key       Key        `json:"key"`
	Tunnel    Tunnel     `json:"tunnel"`
	Engine    Engine     `json:"engine"`
	Links     []Link     `json:"links"`
	LBSAs     LBSAs      `json:"lbsas"`
	Handovers []Handover `json:"handovers"` // the last ones, the latest first
	Restart   *Restart   `json:"restart,omitempty"`
	SEND      *SEND      `json:"send,omitempty"` // nil where no link has it
	Fast      *Fast      `json:"fast,omitempty"`

	// Counters by who keeps them ("lke", "rawip", "engine", "ra lan", ...) and by name.
	Counters map[string]map[string]uint64 `json:"counters"`

	Findings []Finding `json:"findings"`
}

// Seconds is a duration that JSON has as a number of seconds, to the microsecond.
type Seconds time.Duration

// Forever, or never, is any negative duration: JSON has it as -1.
const Forever = Seconds(-time.Second)

// MarshalJSON gives a number of seconds.
func (s Seconds) MarshalJSON() ([]byte, error) {
	if s < 0 {
		s = Forever
	}
	return strconv.AppendFloat(nil, time.Duration(s).Round(time.Microsecond).Seconds(), 'f', -1, 64), nil
}

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n float64
	if err := json.Unmarshal(b, &n); err != nil {
		return err
	}
	*s = Seconds(time.Duration(math.Round(n*1e6)) * time.Microsecond)
	return nil
}

// Key tells which RSA key nodes encrypt for.
type Key struct {
	Path        string `json:"path"`
	Bits        int    `json:"bits"`
	Fingerprint string `json:"fingerprint"`
}

// Fingerprint identifies a public key (SubjectPublicKeyInfo, DER) in the way that ssh shows keys.
func Fingerprint(spki []byte) string {
	sum := sha256.Sum256(spki)
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

// Tunnel tells how packets follow a node.
type Tunnel struct {
	Backend string   `json:"backend"` // "external", "plain" or "tun"
	Device  string   `json:"device"`
	MTU     int      `json:"mtu"`
	Reasons []string `json:"reasons,omitempty"` // why it is no better one
}

// Engine tells who does RSA.
type Engine struct {
	Name    string `json:"name"` // "software"
	Workers int    `json:"workers"`
	Queue   int    `json:"queue"` // places
}

// Link is one configured link.
type Link struct {
	Name    string `json:"name"`
	Device  string `json:"device"`
	Served  bool   `json:"served"`
	Waiting string `json:"waiting,omitempty"` // why it is not served

	LKE     bool   `json:"lke"`
	Refused string `json:"refused,omitempty"` // why LKE is refused although it is on

	LinkLocal netip.Addr `json:"link_local,omitzero"`
	Prefixes  []Prefix   `json:"prefixes"`
	RA        RA         `json:"ra"`
	SEND      *LinkSEND  `json:"send,omitempty"` // nil without it
}

// Prefix is one prefix that a link advertises.
type Prefix struct {
	Prefix    netip.Prefix `json:"prefix"`
	Router    netip.Addr   `json:"router,omitzero"` // own address in it
	Valid     Seconds      `json:"valid_s"`         // as advertised now, or Forever
	Preferred Seconds      `json:"preferred_s"`
	Stale     bool         `json:"stale,omitempty"` // it is gone, and hosts are being told
}

// RA is the state of a link's router advertisements.
type RA struct {
	On     bool          `json:"on"`
	Phase  string        `json:"phase,omitempty"` // as the speaker names it
	Sent   uint64        `json:"sent"`
	Next   Seconds       `json:"next_s"` // to the next one; Forever if there is none
	Others []OtherRouter `json:"others,omitempty"`
}

// OtherRouter is somebody else who advertises on the link.
type OtherRouter struct {
	Router   netip.Addr `json:"router"`
	Hardware string     `json:"hardware,omitempty"`
	Last     Seconds    `json:"last_s"` // ago
}

// LBSAs are the local binding security associations.
type LBSAs struct {
	Max   int    `json:"max"`
	Total int    `json:"total"`
	DAD   int    `json:"dad"`   // not valid yet
	Valid int    `json:"valid"` // and not bound
	Bound int    `json:"bound"`
	List  []LBSA `json:"list"` // at most MaxListed
}

// LBSA is one association.
type LBSA struct {
	Home    netip.Addr `json:"home"`
	Router  netip.Addr `json:"router"`
	Link    string     `json:"link"`
	Node    string     `json:"node"`  // link-layer address
	State   string     `json:"state"` // "dad", "valid" or "bound"
	Expires Seconds    `json:"expires_s"`
	Binding *Binding   `json:"binding,omitempty"`
}

// Binding is where an association's home address is forwarded.
type Binding struct {
	CareOf   netip.Addr `json:"care_of"`
	Expires  Seconds    `json:"expires_s"`
	Verified bool       `json:"verified"` // the node answered there
}

// Handover is one binding that was put in place.
type Handover struct {
	Protocol string     `json:"protocol"` // "lke" or "fmip"
	Home     netip.Addr `json:"home"`
	CareOf   netip.Addr `json:"care_of"`
	Age      Seconds    `json:"age_s"`
	RouterUS int64      `json:"router_us"`            // from the (Fast) Binding Update read to forwarding in place, in microseconds
	Finished Seconds    `json:"finished_s,omitempty"` // from then to the Finished message; 0 without it
	Ended    string     `json:"ended,omitempty"`
}

// Restart tells what was taken up from an earlier process.
type Restart struct {
	LBSAs    int     `json:"lbsas"`
	Keys     int     `json:"handover_keys,omitempty"`
	Bindings int     `json:"bindings"`
	Pause    Seconds `json:"pause_s"` // for which forwarding stood still; 0 with the kernel's tunnels
}

// Level is how bad a finding is.
type Level string

// Levels. What is only a note does not make the daemon unhealthy.
const (
	Note    Level = "note"
	Warning Level = "warning"
)

// Finding is something that is not as it should be, or that is good to know.
type Finding struct {
	Level Level  `json:"level"`
	Link  string `json:"link,omitempty"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"`
}

// Healthy reports whether all links are served as they are configured, and nothing was found that is worse than a note.
func (s *Snapshot) Healthy() bool {
	for _, l := range s.Links {
		if !l.Served || l.Refused != "" || len(l.RA.Others) > 0 {
			return false
		}
	}
	for _, f := range s.Findings {
		if f.Level != Note {
			return false
		}
	}
	return true
}

// Event is one thing that happened.
type Event struct {
	Time   time.Time  `json:"time"` // by the wall clock
	Kind   string     `json:"kind"`
	Link   string     `json:"link,omitempty"`
	Home   netip.Addr `json:"home,omitzero"`
	CareOf netip.Addr `json:"care_of,omitzero"`
	Router netip.Addr `json:"router,omitzero"`
	Node   string     `json:"node,omitempty"`
	Detail string     `json:"detail,omitempty"`

	// Lost counts the events before this one that the client was too slow for.
	Lost uint64 `json:"lost,omitempty"`
}
