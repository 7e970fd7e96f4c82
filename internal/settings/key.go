package settings

import "time"

// Typed handles: made once, before [Engine.Run], and read on any request. A
// handle knows its place in every snapshot, so reading it is one pointer load
// and no map. It answers its fallback while the setting does not exist (or is
// of another kind, which the engine reports as a problem).
//
//	var checkout = engine.Bool("checkout_enabled", true)
//	if checkout.Value() { … }
//
// To read several as of one commit, take a snapshot: checkout.In(snapshot).
type (
	// Bool is a handle on a setting of kind bool.
	Bool struct {
		handle
		fallback bool
	}
	// Int is a handle on a setting of kind int.
	Int struct {
		handle
		fallback int64
	}
	// Float is a handle on a setting of kind float.
	Float struct {
		handle
		fallback float64
	}
	// Text is a handle on a setting of kind text.
	Text struct {
		handle
		fallback string
	}
	// Time is a handle on a setting of kind time.
	Time struct {
		handle
		fallback time.Time
	}
)

type handle struct {
	engine *Engine
	slot   int
}

// slotKey is what a handle asked for.
type slotKey struct {
	key  string
	kind Kind
}

// Bool makes a handle. It panics on a malformed key and once Run has been
// called: handles are part of a program's start.
func (e *Engine) Bool(key string, fallback bool) Bool {
	return Bool{e.handle(key, KindBool), fallback}
}

// Int makes a handle, as [Engine.Bool] does.
func (e *Engine) Int(key string, fallback int64) Int {
	return Int{e.handle(key, KindInt), fallback}
}

// Float makes a handle, as [Engine.Bool] does.
func (e *Engine) Float(key string, fallback float64) Float {
	return Float{e.handle(key, KindFloat), fallback}
}

// Text makes a handle, as [Engine.Bool] does.
func (e *Engine) Text(key, fallback string) Text {
	return Text{e.handle(key, KindText), fallback}
}

// Time makes a handle, as [Engine.Bool] does.
func (e *Engine) Time(key string, fallback time.Time) Time {
	return Time{e.handle(key, KindTime), fallback}
}

func (e *Engine) handle(key string, kind Kind) handle {
	if err := CheckKey(key); err != nil {
		panic("settings: a handle's " + err.Error())
	}
	if e.running.Load() {
		panic("settings: handles are made before Run")
	}
	e.slots = append(e.slots, slotKey{key, kind})
	e.publish(e.Current().withSlots(e.slots))
	return handle{e, len(e.slots) - 1}
}

// Value is the setting as of now.
func (k Bool) Value() bool { return k.In(k.engine.Current()) }

// In is the setting as of a snapshot.
func (k Bool) In(s *Snapshot) bool {
	if v := s.slots[k.slot]; v != nil {
		return v.bits != 0
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Int) Value() int64 { return k.In(k.engine.Current()) }

// In is the setting as of a snapshot.
func (k Int) In(s *Snapshot) int64 {
	if v := s.slots[k.slot]; v != nil {
		return v.bits
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Float) Value() float64 { return k.In(k.engine.Current()) }

// In is the setting as of a snapshot.
func (k Float) In(s *Snapshot) float64 {
	if v := s.slots[k.slot]; v != nil {
		return v.Float()
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Text) Value() string { return k.In(k.engine.Current()) }

// In is the setting as of a snapshot.
func (k Text) In(s *Snapshot) string {
	if v := s.slots[k.slot]; v != nil {
		return v.text
	}
	return k.fallback
}

// Value is the setting as of now, in UTC.
func (k Time) Value() time.Time { return k.In(k.engine.Current()) }

// In is the setting as of a snapshot, in UTC.
func (k Time) In(s *Snapshot) time.Time {
	if v := s.slots[k.slot]; v != nil {
		return v.Time()
	}
	return k.fallback
}
