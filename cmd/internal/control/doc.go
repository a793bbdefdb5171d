// Package control is how pfsyncctl talks to pfsyncd: HTTP/1.1 with JSON bodies
// over a unix socket in the run directory.
//
// It holds what both sides must agree on: the words of the configuration with
// their ranges and defaults ([Config], [Change], [Words]), what is answered
// ([Status], [Stats], [Peer], [State], [Record]), where the files are
// ([Dirs]), and the reader of the start files ([ReadStart]). It knows nothing
// of the protocol on the wire and does nothing to the kernel: a [Backend],
// which the daemon brings, does the work.
//
//	GET  /status /stats /peers /states /monitor
//	PUT  /config   the whole change, validated, then applied all or nothing
//	POST /bulk /flush
//
// An answer is one object: {"version":1,"netns":4026531840,"status":{…}}, with
// "error":{"code":…,"text":…} instead of the value if it went wrong. States
// and monitor are streams: the first line has version and netns, every further
// line is one object, the last may be an error.
//
//	ln, err := control.Listen(dirs.Socket("pfsync0"), "pfsync")
//	srv := &control.Server{Backend: b, NetNS: ns, Log: log}
//	err = srv.Run(ctx, ln)
//
//	c := control.NewClient(dirs.Socket("pfsync0"))
//	st, err := c.Status(ctx)
//
// Spec: design.md sections 2 and 3.
package control
