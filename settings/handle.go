package settings

import "time"

// Typed handles are made once, before [Keeper.Load], and can be read on any request. A
// handle knows its place in every snapshot, so reading it is one pointer load without a
// map lookup. It returns its fallback while the setting does not exist. If the setting
// is of another kind, it does the same, and the keeper reports a problem.
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
	keeper *Keeper
	slot   int
}

// slotKey is the setting that a handle reads.
type slotKey struct {
	key  string
	kind Kind
}

// Bool makes a handle. It panics if the key is malformed, or if [Keeper.Load] has been
// called: handles are made when a program starts.
func (k *Keeper) Bool(key string, fallback bool) Bool {
	return Bool{k.handle(key, KindBool), fallback}
}

// Int makes a handle, as [Keeper.Bool] does.
func (k *Keeper) Int(key string, fallback int64) Int {
	return Int{k.handle(key, KindInt), fallback}
}

// Float makes a handle, as [Keeper.Bool] does.
func (k *Keeper) Float(key string, fallback float64) Float {
	return Float{k.handle(key, KindFloat), fallback}
}

// Text makes a handle, as [Keeper.Bool] does.
func (k *Keeper) Text(key, fallback string) Text {
	return Text{k.handle(key, KindText), fallback}
}

// Time makes a handle, as [Keeper.Bool] does.
func (k *Keeper) Time(key string, fallback time.Time) Time {
	return Time{k.handle(key, KindTime), fallback}
}

func (k *Keeper) handle(key string, kind Kind) handle {
	if err := CheckKey(key); err != nil {
		panic("settings: a handle's " + err.Error())
	}
	if k.sealed.Load() {
		panic("settings: handles are made before Run")
	}
	k.slots = append(k.slots, slotKey{key, kind})
	k.publish(k.Current().withSlots(k.slots))
	return handle{k, len(k.slots) - 1}
}

// Value is the setting as of now.
func (k Bool) Value() bool { return k.In(k.keeper.Current()) }

// In is the setting as of a snapshot.
func (k Bool) In(s *Snapshot) bool {
	if v := s.slots[k.slot]; v != nil {
		return v.bits != 0
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Int) Value() int64 { return k.In(k.keeper.Current()) }

// In is the setting as of a snapshot.
func (k Int) In(s *Snapshot) int64 {
	if v := s.slots[k.slot]; v != nil {
		return v.bits
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Float) Value() float64 { return k.In(k.keeper.Current()) }

// In is the setting as of a snapshot.
func (k Float) In(s *Snapshot) float64 {
	if v := s.slots[k.slot]; v != nil {
		return v.Float()
	}
	return k.fallback
}

// Value is the setting as of now.
func (k Text) Value() string { return k.In(k.keeper.Current()) }

// In is the setting as of a snapshot.
func (k Text) In(s *Snapshot) string {
	if v := s.slots[k.slot]; v != nil {
		return v.text
	}
	return k.fallback
}

// Value is the setting as of now, in UTC.
func (k Time) Value() time.Time { return k.In(k.keeper.Current()) }

// In is the setting as of a snapshot, in UTC.
func (k Time) In(s *Snapshot) time.Time {
	if v := s.slots[k.slot]; v != nil {
		return v.Time()
	}
	return k.fallback
}
