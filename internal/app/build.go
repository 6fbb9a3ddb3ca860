package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/sluicegate/sluice/abi"
	"github.com/sluicegate/sluice/catalog"
	"github.com/sluicegate/sluice/host"
	"github.com/sluicegate/sluice/internal/asyncapi"
	"github.com/sluicegate/sluice/internal/config"
	"github.com/sluicegate/sluice/internal/jsonschema"
	"github.com/sluicegate/sluice/internal/kafka/gateway"
)

// A build is what a configuration becomes: pipelines, and the routes that lead to them. It owns the pipelines.
type build struct {
	pipelines []*host.Pipeline
	routes    *gateway.Routes
	files     []string // what it was made of
	warnings  config.Problems
	notes     config.Problems // what is worth knowing once, not at every start
}

func (b *build) close(ctx context.Context) error {
	var errs []error
	for _, p := range b.pipelines {
		errs = append(errs, p.Close(ctx))
	}
	return errors.Join(errs...)
}

// liveSchemas answers with the documents of the configuration that was built last.
type liveSchemas struct{ set atomic.Pointer[asyncapi.Set] }

func (s *liveSchemas) Find(document, topic string) (host.Schema, error) {
	set := s.set.Load()
	if set == nil {
		return nil, host.ErrNoDocument
	}
	return set.Find(document, topic)
}

// A builder builds one configuration and collects what is wrong with it.
type builder struct {
	app      *App
	cfg      *config.Config
	host     *host.Host
	modules  map[string]*module // by what stages call them
	problems config.Problems
	build    *build

	badDocuments bool // stages cannot be started: what they say would be about documents that are missing
}

// errNotTried is the error of a stage that was checked and not started.
var errNotTried = errors.New("not started")

// module is a plugin that several stages may use.
type module struct {
	compiled *host.Module
	schema   *jsonschema.Schema // of the plugin's config, nil if it has none
}

// build makes the pipelines of cfg in h. schemas is what the stages of h ask: it answers from cfg's documents afterwards,
// and as before if there is an error.
func (a *App) build(ctx context.Context, cfg *config.Config, h *host.Host, schemas *liveSchemas) (_ *build, err error) {
	b := &builder{app: a, cfg: cfg, host: h, modules: map[string]*module{}, build: &build{files: slices.Clone(cfg.Files)}}
	before := schemas.set.Load()
	defer func() {
		err = errors.Join(err, b.closeModules(ctx))
		if err != nil {
			schemas.set.Store(before)
			err = errors.Join(err, b.build.close(ctx))
		}
	}()
	schemas.set.Store(b.documents())

	var routes []gateway.Route
	for i, p := range cfg.Pipelines {
		if r, ok := b.pipeline(ctx, i, p); ok {
			routes = append(routes, r)
		}
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("build pipelines: %w", context.Cause(ctx)) // not the configuration's fault
	}
	if err := b.problems.Err(); err != nil {
		return nil, err
	}
	b.build.routes, err = gateway.NewRoutes(gateway.Markers{Key: cfg.Markers.Bytes(), Topics: cfg.Markers.Topics}, routes)
	if err != nil {
		return nil, err
	}
	return b.build, nil
}

func (b *builder) problem(path, format string, args ...any) {
	b.problems = append(b.problems, b.cfg.Problem(path, format, args...))
}

func (b *builder) progress(format string, args ...any) {
	if b.app.progress != nil {
		b.app.progress(fmt.Sprintf(format, args...))
	}
}

// documents loads all AsyncAPI documents.
func (b *builder) documents() *asyncapi.Set {
	docs := map[string]*asyncapi.Document{}
	for i, d := range b.cfg.Documents {
		doc, err := asyncapi.Load(d.File)
		if err != nil {
			b.badDocuments = true
			b.documentProblems(i, err)
			continue
		}
		docs[d.Name] = doc
		b.build.files = append(b.build.files, doc.Files()...)
		b.build.warnings = append(b.build.warnings, b.shown(doc.Warnings())...)
	}
	return asyncapi.NewSet(docs, &b.app.stats)
}

// documentProblems reports why document i could not be loaded, at the lines of the document where they are known.
func (b *builder) documentProblems(i int, err error) {
	var bad *asyncapi.Error
	if errors.As(err, &bad) {
		b.problems = append(b.problems, b.shown(bad.Problems)...)
		return
	}
	b.problem(config.DocumentPath(i)+".file", "%v", err)
}

func (b *builder) shown(in []asyncapi.Problem) config.Problems {
	out := make(config.Problems, len(in))
	for i, p := range in {
		out[i] = config.Problem{File: b.cfg.Shown(p.File), Line: p.Line, Message: p.Text}
	}
	return out
}

// pipeline builds pipeline i with all its stages, going on after a problem.
func (b *builder) pipeline(ctx context.Context, i int, p config.Pipeline) (gateway.Route, bool) {
	var stages []*host.Stage
	var dropping []string // paths of stages that can drop
	for j, s := range p.Stages {
		at := config.StagePath(i, j)
		stage, err := b.stage(ctx, at, p, s)
		if errors.Is(err, errNotTried) {
			continue
		}
		if err != nil {
			b.reject(at, err)
			continue
		}
		stages = append(stages, stage)
		if stage.CanDrop() {
			dropping = append(dropping, at)
		}
	}
	pipeline := host.NewPipeline(p.Name, stages...)
	b.build.pipelines = append(b.build.pipelines, pipeline)
	on := direction(p.On)
	if on == host.Produce {
		b.markers(dropping)
	}
	return gateway.Route{Name: p.Name, Topics: p.Topics, On: on, Pipeline: pipeline}, len(stages) == len(p.Stages)
}

// markers checks that records which disappear on produce can be marked.
func (b *builder) markers(dropping []string) {
	for _, at := range dropping {
		if b.cfg.Markers.Bytes() == nil {
			b.problem(at, "this stage can drop records on produce, and that needs markers.key: %s", config.KeyAdvice)
			continue
		}
		b.build.notes = append(b.build.notes, b.cfg.Problem(at, "consumers that go around the gateway see a marker "+
			"(a record with a null value and the header sluice.dropped) for each record that this stage drops: where that matters, filter on fetch"))
	}
}

// direction is how the host calls it.
func direction(d config.Direction) host.Direction {
	if d == config.Fetch {
		return host.Fetch
	}
	return host.Produce
}

// reject turns the error of a stage into problems at its path.
func (b *builder) reject(at string, err error) {
	var problems config.Problems
	if errors.As(err, &problems) {
		b.problems = append(b.problems, problems...)
		return
	}
	b.problem(at, "%v", err)
}

func (b *builder) stage(ctx context.Context, at string, p config.Pipeline, s config.Stage) (*host.Stage, error) {
	m, err := b.module(ctx, s.Plugin)
	if err != nil {
		file, _, _ := config.SplitPlugin(s.Plugin)
		return nil, config.Problems{b.cfg.Problem(at+".plugin", "%s", strings.ReplaceAll(err.Error(), file, b.cfg.Shown(file)))}
	}
	if err := b.checkConfig(at, m, s.Config); err != nil {
		return nil, err
	}
	if b.badDocuments {
		return nil, errNotTried
	}
	return b.host.NewStage(ctx, m.compiled, host.StageConfig{
		Name: s.Name, Pipeline: p.Name, On: direction(p.On), Config: s.Config, Mode: s.Mode,
		OnPoison: s.OnPoison, OnOversize: s.OnOversize, OnFailure: s.OnFailure,
		DeadLetterTopic: s.DeadLetter, Grants: s.Grants,
		Limits: host.Limits{
			Memory: uint32(s.Limits.Memory), Deadline: s.Limits.Deadline.Std(),
			FuelBase: s.Limits.FuelBase, FuelPerRecord: s.Limits.FuelPerRecord, FuelPerByte: s.Limits.FuelPerByte,
		},
	})
}

// checkConfig holds a stage's config to the schema that its plugin ships.
func (b *builder) checkConfig(at string, m *module, cfg json.RawMessage) error {
	if m.schema == nil {
		return nil
	}
	if cfg == nil {
		cfg = json.RawMessage("{}")
	}
	if status, errs := m.schema.Check(cfg); status == abi.StatusInvalid {
		return b.cfg.PluginProblems(at, errs)
	}
	return nil
}

// module resolves and compiles a plugin, once for all stages that use it.
func (b *builder) module(ctx context.Context, plugin string) (*module, error) {
	if m := b.modules[plugin]; m != nil {
		return m, nil
	}
	resolved, err := catalog.Resolve(plugin, "")
	if err != nil {
		return nil, err
	}
	b.progress("compiling %s", resolved.Name)
	compiled, err := b.host.Compile(ctx, resolved.Name, resolved.Wasm)
	if err != nil {
		return nil, err
	}
	m := &module{compiled: compiled}
	b.modules[plugin] = m
	if manifest := compiled.Manifest(); manifest != nil && len(manifest.ConfigSchema) > 0 {
		if m.schema, err = configSchema(manifest); err != nil {
			return nil, fmt.Errorf("the plugin's own config_schema is wrong: %w", err)
		}
	}
	return m, nil
}

// configSchema compiles the schema that a plugin ships for its config.
func configSchema(m *abi.Manifest) (*jsonschema.Schema, error) {
	text, err := json.Marshal(m.ConfigSchema)
	if err != nil {
		return nil, err
	}
	return jsonschema.Compile(text, jsonschema.Config{})
}

// closeModules gives up the modules: the stages keep what they need of them.
func (b *builder) closeModules(ctx context.Context) error {
	var errs []error
	for _, m := range b.modules {
		errs = append(errs, m.compiled.Close(ctx))
	}
	return errors.Join(errs...)
}
