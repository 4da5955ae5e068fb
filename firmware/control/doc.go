// Package control is how a person or a program asks a running roamkeyd: a Unix socket, what status says, and how it looks
// on a console.
//
// The protocol is one JSON object a line. A client sends {"command":"status"}, {"command":"version"} or
// {"command":"events"}; the answer to the first two is one line, {"result":...} or {"error":"..."}, after which the client
// may ask again. After events come lines of {"event":...} until the client goes. Requests are short, clients are few and
// bounded in time, and nobody who is slow makes the daemon wait. Nothing can be changed through the socket, and nothing
// secret comes out of it: of keys there are fingerprints.
package control
