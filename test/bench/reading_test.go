package main

import "testing"

// The same readers and requests as `make bench` has, for `go test -bench`, with
// its profiles and its statistics.

func BenchmarkReading(b *testing.B) {
	readers, stop, err := openReaders(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	for _, r := range readers {
		b.Run(r.what+"/"+r.library, func(b *testing.B) {
			b.ReportAllocs()
			sink.Add(r.read(b.N))
		})
	}
}

func BenchmarkGate(b *testing.B) {
	passings, stop, err := openPassings(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer stop()
	for _, p := range passings {
		b.Run(p.what+"/"+p.way, func(b *testing.B) {
			b.ReportAllocs()
			sink.Add(p.pass(b.N))
		})
	}
}
