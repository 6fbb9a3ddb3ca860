package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sluicegate/sluice/abi"
)

// Stage is a module with a configuration and policies. It belongs to one pipeline, which calls and closes it.
type Stage struct {
	cfg      StageConfig
	host     *Host
	code     *code
	limits   Limits // with defaults
	number   uint64 // of the stage in this process
	input    []byte // of sluice_configure
	members  map[string]json.RawMessage
	observer StageObserver
	log      guestLog
	declared ops  // what the guest may do
	declares bool // the guest said so; otherwise it may do anything
	checked  bool // declared is what the first instance said
	permits  *slots
	made     atomic.Uint64 // instances
	poison   poisonMemory

	mu     sync.Mutex
	idle   []*instance // the one used last at the end
	closed bool
}

var stageNumber atomic.Uint64

// NewStage makes a stage and starts one instance of it, so that a guest that refuses its configuration is an error now and not with the first
// record. The error has the guest's text.
func (h *Host) NewStage(ctx context.Context, m *Module, cfg StageConfig) (*Stage, error) {
	s, err := h.newStage(ctx, m, cfg)
	if err != nil {
		return nil, fmt.Errorf("stage %s: %w", cfg.Name, err)
	}
	return s, nil
}

func (h *Host) newStage(ctx context.Context, m *Module, cfg StageConfig) (*Stage, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	if err := checkGrants(m.imports, cfg.Grants); err != nil {
		return nil, err
	}
	if need := uint64(m.code.info.MemoryMin) * pageSize; need > uint64(cfg.Limits.Memory) {
		return nil, unusable("it starts with %d KiB of memory, and the stage's limit is %d KiB: raise limits.memory", need>>10, cfg.Limits.Memory>>10)
	}
	s := &Stage{
		cfg: cfg, host: h, code: m.code, limits: cfg.Limits, number: stageNumber.Add(1), observer: noObserver{},
		permits: newSlots(h.cfg.Slots), declared: allOps,
	}
	s.log.to = h.cfg.Log.With("pipeline", cfg.Pipeline, "stage", cfg.Name)
	if h.cfg.Observer != nil {
		if o := h.cfg.Observer.Stage(cfg.Pipeline, cfg.Name); o != nil {
			s.observer = o
		}
	}
	if err := s.encodeInput(); err != nil {
		return nil, err
	}
	if err := s.startFirst(ctx); err != nil {
		return nil, err
	}
	m.code.retain()
	h.mu.Lock()
	h.stages[s] = struct{}{}
	h.mu.Unlock()
	return s, nil
}

// withDefaults fills in what is not set, and checks what is.
func (c StageConfig) withDefaults() (StageConfig, error) {
	if len(c.Config) == 0 {
		c.Config = json.RawMessage("{}")
	}
	preset := ActionReject
	if c.On == Fetch {
		preset = ActionStop
	}
	for _, p := range []struct {
		name   string
		action *Action
	}{{"on_poison", &c.OnPoison}, {"on_oversize", &c.OnOversize}} {
		switch {
		case *p.action == ActionDefault:
			*p.action = preset
		case *p.action == ActionReject && c.On == Fetch:
			return c, fmt.Errorf("%s: nothing can be rejected on fetch: use stop, dead-letter or pass", p.name)
		case *p.action == ActionDeadLetter && c.DeadLetterTopic == "":
			return c, fmt.Errorf("%s: dead-letter needs a dead_letter topic", p.name)
		}
	}
	l := &c.Limits
	setDefault(&l.Memory, DefaultMemory)
	setDefault(&l.Deadline, DefaultDeadline)
	setDefault(&l.FuelBase, DefaultFuelBase)
	setDefault(&l.FuelPerRecord, DefaultFuelPerRecord)
	setDefault(&l.FuelPerByte, DefaultFuelPerByte)
	setDefault(&l.FuelStart, DefaultFuelStart)
	setDefault(&l.StartDeadline, DefaultStartDeadline)
	l.Memory = l.Memory / pageSize * pageSize
	if l.Memory == 0 || l.Memory > MaxMemory {
		return c, fmt.Errorf("limits.memory: want between 64 KiB and %d MiB", MaxMemory>>20)
	}
	const most = 1 << 40 // so that budgets cannot overflow
	if l.Deadline < 0 || l.StartDeadline < 0 || min(l.FuelBase, l.FuelPerRecord, l.FuelPerByte, l.FuelStart) < 0 {
		return c, errors.New("limits: a limit is negative")
	}
	l.FuelBase, l.FuelStart = min(l.FuelBase, most), min(l.FuelStart, most)
	l.FuelPerRecord, l.FuelPerByte = min(l.FuelPerRecord, most), min(l.FuelPerByte, 1<<30)
	return c, nil
}

func setDefault[T comparable](v *T, preset T) {
	var zero T
	if *v == zero {
		*v = preset
	}
}

// checkGrants checks that a stage was given what its module imports.
func checkGrants(imports, grants []string) error {
	for _, name := range imports {
		if m := findModule(name); !m.always && !slices.Contains(grants, name) {
			return fmt.Errorf("the module imports %q, which was not granted: add %q to the stage's grants if it may use it", name, name)
		}
	}
	for _, name := range grants {
		if findModule(name) == nil {
			return fmt.Errorf("grants: there is no capability %q; this host has %q", name, moduleNames())
		}
	}
	return nil
}

// encodeInput makes the input of sluice_configure, and the members of the configuration for config_get.
func (s *Stage) encodeInput() error {
	if err := json.Unmarshal(s.cfg.Config, &s.members); err != nil {
		return fmt.Errorf("config: want a JSON object: %w", err)
	}
	if s.members == nil {
		return errors.New("config: want a JSON object, not null")
	}
	type hostInfo struct {
		ABI      int      `json:"abi"`
		Features []string `json:"features"`
	}
	var err error
	s.input, err = json.Marshal(struct {
		Config   json.RawMessage `json:"config"`
		Pipeline string          `json:"pipeline"`
		Stage    string          `json:"stage"`
		On       string          `json:"on"`
		Host     hostInfo        `json:"host"`
	}{s.cfg.Config, s.cfg.Pipeline, s.cfg.Name, s.cfg.On.String(), hostInfo{abi.Version, features()}})
	if err != nil {
		return fmt.Errorf("config: %w", err)
	}
	return nil
}

// startFirst starts the first instance and takes from it what the guest declares.
func (s *Stage) startFirst(ctx context.Context) error {
	if err := s.host.slots.acquire(ctx); err != nil {
		return err
	}
	in, failure := s.newInstance(ctx)
	s.host.slots.release()
	if failure != nil {
		return failure
	}
	s.checked = true
	s.put(in)
	if s.cfg.Mode == ModeEnforce && s.declares && s.declared.has(abi.OpDeadLetter) && s.cfg.DeadLetterTopic == "" {
		s.closeAll()
		return errors.New("the module writes dead-letter verdicts with this configuration: name a dead_letter topic for the stage")
	}
	return nil
}

// configured takes the output of sluice_configure: what the guest declares.
func (s *Stage) configured(output []byte) error {
	if len(output) == 0 {
		return nil
	}
	var declaration struct {
		Verdicts *[]string `json:"verdicts"`
	}
	if err := json.Unmarshal(output, &declaration); err != nil {
		return &GuestError{Cause: CauseGuest, Function: abi.ExportConfigure, Text: firstLine("its output is not a JSON object: " + err.Error()), Err: err}
	}
	if declaration.Verdicts == nil || s.checked {
		return nil
	}
	declared := ops(0)
	for _, name := range *declaration.Verdicts {
		op := opNamed(name)
		if !allOps.has(op) {
			return &GuestError{Cause: CauseGuest, Function: abi.ExportConfigure, Text: oneLine(fmt.Sprintf("it declares the verdict %q: want replace, drop, reject or dead-letter", name))}
		}
		declared = declared.with(op)
	}
	s.declared, s.declares = declared, true
	return nil
}

// ops is a set of operations that verdicts can have: abi.OpKeep is none, as nothing is written for a record that is kept.
type ops uint8

const allOps = ops(1<<abi.OpDrop | 1<<abi.OpReplace | 1<<abi.OpReject | 1<<abi.OpDeadLetter)

func (s ops) has(op abi.Op) bool { return op < 8 && s&(1<<op) != 0 }
func (s ops) with(op abi.Op) ops { return s | 1<<op }

// opNamed returns the operation of this name, or one that no set has.
func opNamed(name string) abi.Op {
	for op := abi.OpDrop; op <= abi.OpDeadLetter; op++ {
		if op.String() == name {
			return op
		}
	}
	return 255
}

// Name returns the stage's name.
func (s *Stage) Name() string { return s.cfg.Name }

// CanDrop reports whether a record may be missing after the stage: whether it may be dropped or dead-lettered by the guest, as far as the guest
// declared its verdicts, or by a policy.
func (s *Stage) CanDrop() bool {
	if s.cfg.Mode == ModeObserve {
		return false
	}
	return s.declared.has(abi.OpDrop) || s.declared.has(abi.OpDeadLetter) ||
		s.cfg.OnPoison == ActionDeadLetter || s.cfg.OnOversize == ActionDeadLetter
}

// Close closes a stage that was not given to a pipeline; a pipeline closes its own.
func (s *Stage) Close(ctx context.Context) error {
	if !s.closeAll() {
		return nil
	}
	s.host.mu.Lock()
	delete(s.host.stages, s)
	s.host.mu.Unlock()
	return s.code.release(ctx)
}

// closeAll closes the idle instances; those in use are closed when they come back. It reports whether the stage was open.
func (s *Stage) closeAll() bool {
	s.mu.Lock()
	idle, open := s.idle, !s.closed
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, in := range idle {
		in.close()
	}
	return open
}

// get returns an idle instance, or a new one if there is none or if it must be fresh. It runs guest code: the caller holds a run slot and a permit.
func (s *Stage) get(ctx context.Context, fresh bool) (in *instance, err *GuestError) {
	if !fresh {
		s.mu.Lock()
		if n := len(s.idle); n > 0 {
			in = s.idle[n-1]
			s.idle = s.idle[:n-1]
		}
		s.mu.Unlock()
		if in != nil {
			return in, nil
		}
	}
	return s.newInstance(ctx)
}

// put takes back an instance whose call succeeded.
func (s *Stage) put(in *instance) {
	s.mu.Lock()
	// A fresh instance may come back while another is idle, so that there would be more than can be used.
	keep := !s.closed && len(s.idle) < s.host.cfg.Slots
	if keep {
		in.idleSince = s.clock()
		s.idle = append(s.idle, in)
	}
	s.mu.Unlock()
	if !keep {
		in.close()
	}
}

// closeIdle closes the instances that were last used before the time given.
func (s *Stage) closeIdle(before time.Time) {
	s.mu.Lock()
	n := 0 // the longest unused ones stand first
	for n < len(s.idle) && s.idle[n].idleSince.Before(before) {
		n++
	}
	old := slices.Clone(s.idle[:n])
	s.idle = slices.Delete(s.idle, 0, n)
	s.mu.Unlock()
	for _, in := range old {
		in.close()
	}
}

func (s *Stage) clock() time.Time { return s.host.cfg.Now() }

func (s *Stage) schemas() Schemas {
	if s.host.cfg.Schemas == nil {
		return noSchemas{}
	}
	return s.host.cfg.Schemas
}
