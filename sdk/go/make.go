package tidemill

import (
	"encoding/json"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
	wit "github.com/tidemill/tidemill/sdk/go/internal/wit/types"
)

// Made is a column that an answer brings.
type Made interface {
	len() int
	// cut takes back what was appended past that length.
	cut(rows int)
	// lower appends its buffers, and behind them those of a list's elements.
	lower(into []tidemill_plugin_types.Buffers) []tidemill_plugin_types.Buffers
}

// validity is a made column's nulls. No bitmap is made where there are none.
type validity struct {
	rows  int
	nulls bool
	bits  []byte
}

func (v *validity) append(valid bool) {
	if v.rows&7 == 0 {
		v.bits = append(v.bits, 0)
	}
	if valid {
		v.bits[v.rows>>3] |= 1 << (v.rows & 7)
	} else {
		v.nulls = true
	}
	v.rows++
}

func (v *validity) cut(rows int) {
	v.rows, v.bits = rows, v.bits[:(rows+7)/8]
	if rows&7 != 0 {
		v.bits[rows>>3] &= 1<<(rows&7) - 1
	}
}

func (v *validity) lower() wit.Option[[]byte] {
	if v.nulls {
		return wit.Some(v.bits)
	}
	return wit.None[[]byte]()
}

// MadeNumbers is a column of numbers, dates or times in the making.
type MadeNumbers[T Number] struct {
	values   []T
	validity validity
}

// NewNumbers begins a column of numbers; room is how many rows are expected.
func NewNumbers[T Number](room int) *MadeNumbers[T] {
	return &MadeNumbers[T]{values: make([]T, 0, room)}
}

// Append adds a row's value.
func (m *MadeNumbers[T]) Append(value T) {
	m.values = append(m.values, value)
	m.validity.append(true)
}

// AppendNull adds a row without a value.
func (m *MadeNumbers[T]) AppendNull() {
	m.values = append(m.values, 0)
	m.validity.append(false)
}

func (m *MadeNumbers[T]) len() int { return len(m.values) }

func (m *MadeNumbers[T]) cut(rows int) {
	m.values = m.values[:rows]
	m.validity.cut(rows)
}

func (m *MadeNumbers[T]) lower(into []tidemill_plugin_types.Buffers) []tidemill_plugin_types.Buffers {
	return append(into, tidemill_plugin_types.Buffers{Validity: m.validity.lower(), Values: bytesOf(m.values)})
}

// MadeTexts is a column of texts or bytes in the making.
type MadeTexts struct {
	offsets  []int32
	values   []byte
	validity validity
	json     *json.Encoder
}

// NewTexts begins a column of texts or bytes; room is how many rows are expected.
func NewTexts(room int) *MadeTexts {
	return &MadeTexts{offsets: append(make([]int32, 0, room+1), 0)}
}

// Append adds a row's text.
func (m *MadeTexts) Append(text string) {
	m.values = append(m.values, text...)
	m.end(true)
}

// AppendBytes adds a row's bytes.
func (m *MadeTexts) AppendBytes(value []byte) {
	m.values = append(m.values, value...)
	m.end(true)
}

// AppendJSON adds a value, as encoding/json writes it, to a column of JSON or of documents: without the newline that an Encoder
// writes, which no document may have, and with `<`, `>` and `&` as they are. Digits and JSON that were read go in as json.Number
// and json.RawMessage. On an error nothing is added.
func (m *MadeTexts) AppendJSON(value any) error {
	if m.json == nil {
		m.json = json.NewEncoder((*appended)(m))
		m.json.SetEscapeHTML(false)
	}
	if err := m.json.Encode(value); err != nil {
		return err
	}
	m.values = m.values[:len(m.values)-1]
	m.end(true)
	return nil
}

// appended is what an encoder writes to.
type appended MadeTexts

func (a *appended) Write(text []byte) (int, error) {
	a.values = append(a.values, text...)
	return len(text), nil
}

// AppendNull adds a row without a value.
func (m *MadeTexts) AppendNull() { m.end(false) }

func (m *MadeTexts) end(valid bool) {
	m.offsets = append(m.offsets, int32(len(m.values)))
	m.validity.append(valid)
}

func (m *MadeTexts) len() int { return len(m.offsets) - 1 }

func (m *MadeTexts) cut(rows int) {
	m.offsets = m.offsets[:rows+1]
	m.values = m.values[:m.offsets[rows]]
	m.validity.cut(rows)
}

func (m *MadeTexts) lower(into []tidemill_plugin_types.Buffers) []tidemill_plugin_types.Buffers {
	return append(into, tidemill_plugin_types.Buffers{Validity: m.validity.lower(), Offsets: bytesOf(m.offsets), Values: m.values})
}

// MadeBools is a column of booleans in the making.
type MadeBools struct{ values, validity validity }

// NewBools begins a column of booleans.
func NewBools() *MadeBools { return &MadeBools{} }

// Append adds a row's value.
func (m *MadeBools) Append(value bool) {
	m.values.append(value)
	m.validity.append(true)
}

// AppendNull adds a row without a value.
func (m *MadeBools) AppendNull() {
	m.values.append(false)
	m.validity.append(false)
}

func (m *MadeBools) len() int { return m.values.rows }

func (m *MadeBools) cut(rows int) {
	m.values.cut(rows)
	m.validity.cut(rows)
}

func (m *MadeBools) lower(into []tidemill_plugin_types.Buffers) []tidemill_plugin_types.Buffers {
	return append(into, tidemill_plugin_types.Buffers{Validity: m.validity.lower(), Values: m.values.bits})
}
