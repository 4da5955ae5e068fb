// Package daemon is the one event loop of roamkeyd. It takes inputs from the drivers (packets, finished RSA operations, what the
// kernel says of links), hands them to the protocol cores, and carries out the effects that the cores answer with.
//
// One goroutine owns all protocol state, so that nothing in the cores needs a lock. What can wait, such as a status
// request, is a function sent to that goroutine. Mobility headers from the uplinks are taken before anything else: a
// flood on a served link never delays a Binding Update.
package daemon
