package rtnl_test

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"github.com/roamkey/roamkey/build/netlab/netlabtest"
	"github.com/roamkey/roamkey/drivers/rtnl"
)

func TestMain(m *testing.M) { os.Exit(netlabtest.Main(m)) }

func TestRoutesAndRules(t *testing.T) {
	_, ns := netlabtest.New(t, "router")
	nl := netlabtest.Open(t, ns[0], rtnl.Dial)
	other := netlabtest.Open(t, ns[0], rtnl.Dial)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(ns[0].SetUp("lo"))
	d, err := nl.Device("lo")
	must(err)
	rt := rtnl.Route{Dst: netip.MustParsePrefix("2001:db8::1/128"), Device: d.Index, Table: rtnl.HoldTable}
	routes := func() []rtnl.Route {
		t.Helper()
		all, err := other.Routes()
		must(err)
		return all
	}
	must(nl.SetRoute(rt))
	want := rt
	want.Protocol = rtnl.Protocol
	if got := routes(); !slices.Equal(got, []rtnl.Route{want}) {
		t.Fatalf("routes %+v", got)
	}
	// DeleteRouteWhen does nothing when it is not the moment, and what is to follow follows when the route is gone.
	done, err := nl.DeleteRouteWhen(rt, func() bool { return false }, func() { t.Error("it went on") })
	if done || err != nil || len(routes()) != 1 {
		t.Errorf("%v, %v; routes %v", done, err, routes())
	}
	var asked, then int
	for range 2 { // that it is gone already is no error
		asked, then = -1, -1
		done, err = nl.DeleteRouteWhen(rt, func() bool { asked = len(routes()); return true }, func() { then = len(routes()) })
		if !done || err != nil || then != 0 {
			t.Errorf("%v, %v; %d routes before, %d then", done, err, asked, then)
		}
	}
	must(nl.DeleteRoute(rt))

	// An unreachable route stands in for another to the same address, behind it.
	spare := rtnl.Route{Dst: rt.Dst, Table: rtnl.HoldTable, Metric: rtnl.Metric + 2, Unreachable: true}
	must(nl.SetRoute(rt))
	must(nl.SetRoute(spare))
	must(nl.SetRoute(spare))
	both := []rtnl.Route{want, spare}
	both[1].Protocol = rtnl.Protocol
	if got := routes(); !slices.Equal(got, both) {
		t.Errorf("routes %+v, want %+v", got, both)
	}
	must(nl.DeleteRoute(rt))
	if got := routes(); !slices.Equal(got, both[1:]) {
		t.Errorf("routes %+v, want %+v", got, both[1:])
	}
	must(nl.DeleteRoute(routes()[0])) // as it is listed
	if got := routes(); len(got) != 0 {
		t.Errorf("routes %+v are left", got)
	}

	for _, ru := range []rtnl.Rule{
		{Device: "x0", Not: true, Table: rtnl.HoldTable, Priority: rtnl.HoldPriority},
		{From: netip.MustParseAddr("2001:db8::1"), Table: 254, Priority: rtnl.RulePriority},
		{To: netip.MustParseAddr("2001:db8::1"), Device: "x0", Table: 254, Priority: rtnl.RulePriority},
		{From: netip.MustParseAddr("2001:db8::1"), Device: "x0", Table: 8000, Priority: rtnl.RulePriority},
		{Device: "x0", Priority: rtnl.DropPriority},
	} {
		must(nl.AddRule(ru))
		must(nl.AddRule(ru))
		all, err := other.Rules()
		if err != nil || !slices.Equal(all, []rtnl.Rule{ru}) {
			t.Errorf("rules %+v, %v; want %+v", all, err, ru)
		}
		must(nl.DeleteRule(ru))
		must(nl.DeleteRule(ru))
	}
}
