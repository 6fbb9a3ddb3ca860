package gateway

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeConfigs: settings of topics, brokers and other resources. Those settings of a broker that name hosts lose their values.
//
//	v1  synonyms; v3 type and documentation; v4 flexible
func describeConfigsRow() row {
	return row{key: 32, max: 4, respond: rewriting(kmsg.NewPtrDescribeConfigsResponse, redactConfigs)}
}

// addressConfigs are the settings of a broker whose values hold addresses. Those of plugins are known by what they end in.
var addressConfigs = []string{
	"advertised.host.name", "advertised.listeners", "advertised.port", "controller.quorum.voters",
	"host.name", "listeners", "port", "zookeeper.connect",
}

func holdsAddresses(setting string) bool {
	return slices.Contains(addressConfigs, setting) || strings.HasSuffix(setting, "bootstrap.servers")
}

func redactConfigs(_ *conn, m *kmsg.DescribeConfigsResponse) {
	for i := range m.Resources {
		r := &m.Resources[i]
		if r.ResourceType != kmsg.ConfigResourceTypeBroker {
			continue
		}
		for j := range r.Configs {
			cfg := &r.Configs[j]
			if holdsAddresses(cfg.Name) {
				cfg.Value, cfg.IsSensitive = nil, true
			}
			for k := range cfg.ConfigSynonyms {
				if s := &cfg.ConfigSynonyms[k]; holdsAddresses(s.Name) {
					s.Value = nil
				}
			}
		}
	}
}
