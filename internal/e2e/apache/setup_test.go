package apache

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/sluicegate/sluice/internal/e2e/scene"
	"github.com/sluicegate/sluice/internal/testenv"
	"github.com/sluicegate/sluice/internal/testenv/apachekafka"
	"github.com/sluicegate/sluice/internal/testenv/clients"
	"github.com/sluicegate/sluice/internal/testenv/gateway"
)

// One broker, one gateway and one of each client serve all tests of the package.
// A test has topics of its own and leaves the gateway alone; those that need
// another configuration, or hurt it, start their own.
var (
	kafka *apachekafka.Cluster
	dir   string

	sharedOnce sync.Once
	shared     *gateway.Gateway
	sharedErr  error

	clientsOnce sync.Once
	clientsAll  []clients.Client
	clientsErr  error
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		if !testenv.WantKafka() {
			return m.Run()
		}
		var err error
		if dir, err = os.MkdirTemp("", "sluice-e2e-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		if kafka, err = apachekafka.Start(ctx, apachekafka.Config{Dir: filepath.Join(dir, "kafka")}); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer kafka.Close()
		createTopic(ctx, scene.DeadLetters, 1, nil)
		code := m.Run()
		for _, c := range clientsAll {
			if d, ok := c.(*clients.Driver); ok {
				d.Close()
			}
		}
		if shared != nil {
			if code != 0 {
				fmt.Fprintln(os.Stderr, shared.Tail(30))
			}
			shared.Kill()
		}
		return code
	}())
}

// theGateway is the gateway that tests share, with scene.Pipelines.
func theGateway(t *testing.T) *gateway.Gateway {
	t.Helper()
	testenv.NeedKafka(t)
	sharedOnce.Do(func() {
		var binary string
		if binary, sharedErr = testenv.BuildBinary(); sharedErr != nil {
			return
		}
		shared, sharedErr = gateway.Start(t.Context(), gateway.Config{
			Binary: binary, Dir: filepath.Join(dir, "gateway"), Bootstrap: strings.Split(kafka.Bootstrap(), ","),
			MaxNode: 1, Pipelines: scene.Pipelines, Files: scene.Files,
		})
	})
	if sharedErr != nil {
		t.Fatal(sharedErr)
	}
	if !shared.Process().Running() {
		t.Fatalf("the gateway died in an earlier test\n%s", shared.Tail(40))
	}
	return shared
}

// ownGateway starts a gateway for one test.
func ownGateway(t *testing.T, cfg gateway.Config, env ...string) *gateway.Gateway {
	t.Helper()
	testenv.NeedKafka(t)
	cfg.Binary, cfg.Dir = testenv.Binary(t), t.TempDir()
	if cfg.Bootstrap == nil {
		cfg.Bootstrap, cfg.MaxNode = strings.Split(kafka.Bootstrap(), ","), 1
	}
	g, err := gateway.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Kill()
		if t.Failed() {
			t.Log(g.Tail(40))
		}
	})
	if err := g.Run(t.Context(), env...); err != nil {
		t.Fatal(err)
	}
	return g
}

// allClients are one of each client, shared by the tests.
func allClients(t *testing.T) []clients.Client {
	t.Helper()
	testenv.NeedKafka(t)
	kcat, python := testenv.Need(t, "kcat"), testenv.NeedPython(t)
	clientsOnce.Do(func() {
		var py, java *clients.Driver
		if py, clientsErr = clients.NewPython(python, dir); clientsErr != nil {
			return
		}
		if java, clientsErr = clients.NewJava(kafka.LibDir(), dir); clientsErr != nil {
			return
		}
		clientsAll = []clients.Client{&clients.Franz{}, &clients.Kcat{Path: kcat}, py, java, &clients.Console{Libs: kafka.LibDir(), Dir: dir}}
	})
	if clientsErr != nil {
		t.Fatal(clientsErr)
	}
	return clientsAll
}

// createTopic creates a topic at the brokers. It panics, for TestMain.
func createTopic(ctx context.Context, name string, partitions int32, configs map[string]*string) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(kafka.Bootstrap(), ",")...), kgo.MetadataMinAge(10*time.Millisecond))
	if err != nil {
		panic(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	if _, err := adm.CreateTopic(ctx, partitions, -1, configs, name); err != nil {
		panic(fmt.Sprintf("create topic %s: %v", name, err))
	}
	// The controller answers before the broker knows; raw requests do not retry.
	for range 500 {
		offsets, err := adm.ListEndOffsets(ctx, name)
		if err == nil && offsets.Error() == nil && len(offsets[name]) == int(partitions) {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	panic(fmt.Sprintf("topic %s does not appear", name))
}

// topic creates a topic for a test.
func topic(t *testing.T, name string, partitions int32, configs ...string) string {
	t.Helper()
	m := map[string]*string{}
	for i := 0; i < len(configs); i += 2 {
		m[configs[i]] = &configs[i+1]
	}
	createTopic(t.Context(), name, partitions, m)
	return name
}

// readAll reads a topic at the brokers.
func readAll(t *testing.T, topic string, committed bool) []clients.Stored {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	records, err := clients.ReadAll(ctx, kafka.Bootstrap(), topic, committed)
	if err != nil {
		t.Fatalf("read at the brokers: %v", err)
	}
	return records
}

// report fails the test if there are problems, and shows the records.
func report(t *testing.T, what string, problems []string, records []clients.Stored) {
	t.Helper()
	if len(problems) > 0 {
		t.Errorf("%s:\n    %s\n  the records:\n%s", what, strings.Join(problems, "\n    "), clients.List(records))
	}
}
