package tidemill

import (
	"slices"

	"github.com/tidemill/tidemill/sdk/go/internal/bindings/tidemill_plugin_types"
)

// Elements say what the elements of a list are read as: OfTexts, OfInt64 and their sisters, or OfLists of one of these.
type Elements[V any] struct {
	// What fits, first of the elements themselves, then of their elements.
	types [][]DataType
	view  func(of []buffers) V
}

// What elements are read as, as the columns of these names are.
var (
	OfBools   = Elements[Bools]{[][]DataType{{Boolean}}, viewBools}
	OfInt16   = Elements[Numbers[int16]]{[][]DataType{int16Types}, viewNumbers[int16]}
	OfInt32   = Elements[Numbers[int32]]{[][]DataType{int32Types}, viewNumbers[int32]}
	OfInt64   = Elements[Numbers[int64]]{[][]DataType{int64Types}, viewNumbers[int64]}
	OfUint32  = Elements[Numbers[uint32]]{[][]DataType{uint32Types}, viewNumbers[uint32]}
	OfFloat32 = Elements[Numbers[float32]]{[][]DataType{float32Types}, viewNumbers[float32]}
	OfFloat64 = Elements[Numbers[float64]]{[][]DataType{float64Types}, viewNumbers[float64]}
	OfTexts   = Elements[Texts]{[][]DataType{{Utf8}}, viewTexts}
	OfBytes   = Elements[Bytes]{[][]DataType{{Binary}}, viewBytes}
)

// OfLists says that the elements are lists of these elements.
func OfLists[V any](elements Elements[V]) Elements[Lists[V]] {
	return Elements[Lists[V]]{
		slices.Concat([][]DataType{{List}}, elements.types),
		func(of []buffers) Lists[V] { return Lists[V]{of[0], elements.view(of[1:])} },
	}
}

// ListColumn is a handle to a required column of lists.
type ListColumn[V any] struct {
	place int
	view  func(of []buffers) Lists[V]
}

// Lists are a column's values in one batch: where each row's list lies among the elements of all.
type Lists[V any] struct {
	of buffers
	// Elements are those of all rows' lists, one list after the other; they are asked for by their places among these.
	Elements V
}

// In gives the column's values in a batch, without copying them.
func (c ListColumn[V]) In(batch *Batch) Lists[V] { return c.view(batch.columns[c.place:]) }

// Get gives the places of a row's elements, from the first to before the last; false where the list is null.
func (l Lists[V]) Get(row int) (from, to int, ok bool) {
	return int(l.of.offsets[row]), int(l.of.offsets[row+1]), l.of.validity.at(row)
}

// Required is a plan, or the columns that it hands out: what can be asked for columns.
type Required interface{ columns() Columns }

func (c Columns) columns() Columns { return c }

// ListOf requires a column of lists, of the row (of a plan) or of the row before its change (of its Old):
//
//	tags, err := tidemill.ListOf(plan, "tags", tidemill.OfTexts)
func ListOf[V any](of Required, name string, elements Elements[V]) (ListColumn[V], error) {
	lists := OfLists(elements)
	at, err := of.columns().require(name, lists.types...)
	return ListColumn[V]{at, lists.view}, err
}

// MadeLists is a column of lists in the making.
type MadeLists struct {
	elements Made
	offsets  []int32
	validity validity
}

// NewLists begins a column of lists, whose elements are appended to a column of their own, which may be one of lists.
func NewLists(elements Made) *MadeLists {
	return &MadeLists{elements: elements, offsets: []int32{0}}
}

// Append ends a row's list: it has the elements that were appended since the list before.
func (m *MadeLists) Append() { m.end(true) }

// AppendNull adds a row without a list; elements that were appended for it are taken back.
func (m *MadeLists) AppendNull() {
	m.elements.cut(int(m.offsets[m.len()]))
	m.end(false)
}

func (m *MadeLists) end(valid bool) {
	m.offsets = append(m.offsets, int32(m.elements.len()))
	m.validity.append(valid)
}

func (m *MadeLists) len() int { return len(m.offsets) - 1 }

func (m *MadeLists) cut(rows int) {
	m.offsets = m.offsets[:rows+1]
	m.elements.cut(int(m.offsets[rows]))
	m.validity.cut(rows)
}

func (m *MadeLists) lower(into []tidemill_plugin_types.Buffers) []tidemill_plugin_types.Buffers {
	into = append(into, tidemill_plugin_types.Buffers{Validity: m.validity.lower(), Offsets: bytesOf(m.offsets)})
	return m.elements.lower(into)
}
