package gateway

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluicegate/sluice/internal/kafka/wire"
)

// ApiVersions: what client and broker can speak. The response is edited by the table, for each upstream connection anew, because brokers differ
// while they are upgraded.
//
//	v3  flexible, client software, features. The response header stays version 0 in all versions
//	v5  cluster id and node id in the request
//
// A broker that does not know the request's version answers UNSUPPORTED_VERSION in the shape of v0, with the versions of ApiVersions in it if it is
// recent; so does the gateway for versions that it does not know.
func apiVersionsRow() row {
	return row{key: 18, max: 5, respond: respondAPIVersions, unsupported: refuseAPIVersions}
}

// readTo returns the versions of a key that this gateway can read; ok is false where it need not read any.
func readTo(key int16) (minimum, maximum int16, ok bool) {
	r, listed := table[key]
	return r.min, r.max, listed && r.refused == ""
}

func refuseAPIVersions(c *conn, h wire.RequestHeader) error {
	if err := c.cr.Skip(); err != nil {
		return err
	}
	_, maximum, _ := readTo(18)
	resp := kmsg.NewPtrApiVersionsResponse()
	resp.ErrorCode = kerr.UnsupportedVersion.Code
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: 18, MaxVersion: maximum}}
	h.Version = 0
	return c.reply(h, resp)
}

func respondAPIVersions(c *conn, e *entry, _ int32) error {
	return c.opened(func(body []byte) error {
		head, err := responseHead(body, e)
		if err != nil {
			return err
		}
		m := kmsg.NewPtrApiVersionsResponse()
		m.SetVersion(e.version)
		if code := (&cursor{b: body[head:]}).int16(); code == kerr.UnsupportedVersion.Code {
			m.SetVersion(0) // the broker's way back
		}
		if err := m.ReadFrom(body[head:]); err != nil {
			return fmt.Errorf("%w: %w", errMalformed, err)
		}
		if m.ErrorCode == 0 {
			keys := make(map[int16]bool, len(m.ApiKeys))
			for _, k := range m.ApiKeys {
				keys[k.ApiKey] = true
			}
			c.advertised.Store(&keys)
		}
		clampVersions(m)
		return c.cw.WriteFrame(m.AppendTo(append([]byte(nil), body[:head]...)))
	})
}

// clampVersions takes out what the gateway cannot handle. A minimum is never raised except by a row that says so: brokers offer Produce from v0 on
// though they refuse the oldest versions, because librdkafka gives up compression otherwise (KAFKA-18659).
func clampVersions(m *kmsg.ApiVersionsResponse) {
	m.ApiKeys = slices.DeleteFunc(m.ApiKeys, func(k kmsg.ApiVersionsResponseApiKey) bool {
		r, listed := table[k.ApiKey]
		return listed && (r.refused != "" || k.MinVersion > r.max || k.MaxVersion < r.min)
	})
	produce := int16(-1)
	for i := range m.ApiKeys {
		k := &m.ApiKeys[i]
		if minimum, maximum, ok := readTo(k.ApiKey); ok {
			k.MinVersion, k.MaxVersion = max(k.MinVersion, minimum), min(k.MaxVersion, maximum)
		}
		if k.ApiKey == 0 {
			produce = k.MaxVersion
		}
	}
	if produce < 12 {
		clampTransactions(m)
	}
}

// clampTransactions hides transactions of version 2: Java clients use them as soon as the feature is there, and brokers then expect Produce v12.
func clampTransactions(m *kmsg.ApiVersionsResponse) {
	const feature, below = "transaction.version", 2
	m.SupportedFeatures = slices.DeleteFunc(m.SupportedFeatures, func(f kmsg.ApiVersionsResponseSupportedFeature) bool {
		return f.Name == feature && f.MinVersion >= below
	})
	for i := range m.SupportedFeatures {
		if f := &m.SupportedFeatures[i]; f.Name == feature {
			f.MaxVersion = min(f.MaxVersion, below-1)
		}
	}
	m.FinalizedFeatures = slices.DeleteFunc(m.FinalizedFeatures, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool {
		return f.Name == feature && f.MinVersionLevel >= below
	})
	for i := range m.FinalizedFeatures {
		if f := &m.FinalizedFeatures[i]; f.Name == feature {
			f.MaxVersionLevel = min(f.MaxVersionLevel, below-1)
		}
	}
}
