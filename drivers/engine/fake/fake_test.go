package fake

import (
	"bytes"
	"errors"
	"testing"

	"github.com/roamkey/roamkey/drivers/engine"
	"github.com/roamkey/roamkey/ipv6"
)

func TestJobsWaitForTheTest(t *testing.T) {
	e := New()
	o := Operations{Other: [engine.KeyLen]byte{0xff}}
	if e.Complete(o) {
		t.Error("completed a job that nobody submitted")
	}
	ciphertext := []byte("0123456789abcdef and more")
	for job, c := range [][]byte{ciphertext, ciphertext[:3]} {
		j := engine.Job{Ticket: engine.Ticket{Owner: 7, Job: uint64(job)}, Source: ipv6.LinkAddr{2}, Octets: c}
		if _, dropped := e.Submit(j); dropped {
			t.Fatal("dropped")
		}
	}
	clear(ciphertext) // the caller's buffer is its own again
	if jobs := e.Jobs(); len(jobs) != 2 || jobs[0].Source != (ipv6.LinkAddr{2}) {
		t.Errorf("jobs %+v", jobs)
	}
	select {
	case <-e.Results():
		t.Error("a result before the job is completed")
	default:
	}
	for job, want := range []string{"0123456789abcdef", string(o.Other[:])} {
		if !e.Complete(o) {
			t.Fatal("no job")
		}
		if r := <-e.Results(); r.Ticket != (engine.Ticket{Owner: 7, Job: uint64(job)}) || string(r.Key[:]) != want || !r.OK {
			t.Errorf("job %v: key %q, want %q", r.Ticket, r.Key[:], want)
		}
	}
	e.Full = true
	if lost, dropped := e.Submit(engine.Job{Ticket: engine.Ticket{Owner: 1, Job: 9}}); !dropped || lost != (engine.Ticket{Owner: 1, Job: 9}) {
		t.Errorf("a full engine kept job %v", lost)
	}
}

// What the fake signs it verifies, under that key and for that digest alone, and what it encrypts it decrypts.
func TestOperationsFitTogether(t *testing.T) {
	e := New()
	o := Operations{PublicKey: []byte("key")}
	done := func(j engine.Job) engine.Result {
		t.Helper()
		e.Submit(j)
		if !e.Complete(o) {
			t.Fatal("no job")
		}
		return <-e.Results()
	}
	digest := bytes.Repeat([]byte{1}, engine.DigestLen)
	signed := done(engine.Job{Op: engine.Sign, Octets: digest})
	if !signed.OK || len(signed.Octets) != 128 {
		t.Fatalf("signature of %d octets", len(signed.Octets))
	}
	for _, c := range []struct {
		key, digest []byte
		want        bool
	}{
		{[]byte("key"), digest, true},
		{[]byte("another"), digest, false},
		{[]byte("key"), bytes.Repeat([]byte{2}, engine.DigestLen), false},
		{[]byte("key"), digest[1:], false},
	} {
		if r := done(engine.Job{Op: engine.Verify, PublicKey: c.key, Octets: c.digest, Signature: signed.Octets}); r.OK != c.want {
			t.Errorf("%s, %x: %v", c.key, c.digest, r.OK)
		}
	}
	encrypted := done(engine.Job{Op: engine.Encrypt, PublicKey: []byte("key"), Octets: []byte("0123456789abcdef")})
	if r := done(engine.Job{Op: engine.Decrypt, Octets: encrypted.Octets}); string(r.Key[:]) != "0123456789abcdef" {
		t.Errorf("decrypted to %q", r.Key)
	}
	o.SignError = errors.New("no")
	if r := done(engine.Job{Op: engine.Sign, Octets: digest}); r.OK || r.Octets != nil {
		t.Error("signed all the same")
	}
	counts := make(map[string]uint64)
	e.Counters(func(name string, value uint64) { counts[name] = value })
	if counts["engine_failed"] != 4 || counts["engine_signed"] != 1 || counts["engine_verified"] != 1 || counts["engine_encrypted"] != 1 || counts["engine_decrypted"] != 1 {
		t.Errorf("counters %v", counts)
	}
}
