// SPDX-License-Identifier: GPL-3.0-or-later

// Command s3 serves the folders /s3/objects and /s3/versions as S3, by versitygw. Its listing dates an old version by the
// moment at which it was replaced, and a delete marker by the object that it hides; S3 dates each by when it was made,
// and so does this: version ids are ULIDs, which hold that time.
package main

import (
	"context"
	"log"
	"os"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/oklog/ulid/v2"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3response"
)

type dated struct{ *posix.Posix }

func made(versionID *string, known *time.Time) *time.Time {
	if versionID == nil {
		return known
	}
	id, err := ulid.ParseStrict(*versionID)
	if err != nil {
		return known
	}
	at := ulid.Time(id.Time()).UTC()
	return &at
}

// ListObjectVersions is the backend's, with the times at which the versions were made.
func (d dated) ListObjectVersions(
	ctx context.Context, input *s3.ListObjectVersionsInput,
) (s3response.ListVersionsResult, error) {
	found, err := d.Posix.ListObjectVersions(ctx, input)
	for i := range found.Versions {
		found.Versions[i].LastModified = made(found.Versions[i].VersionId, found.Versions[i].LastModified)
	}
	for i := range found.DeleteMarkers {
		found.DeleteMarkers[i].LastModified = made(found.DeleteMarkers[i].VersionId, found.DeleteMarkers[i].LastModified)
	}
	sort.SliceStable(found.Versions, func(i, j int) bool {
		a, b := found.Versions[i], found.Versions[j]
		if *a.Key != *b.Key {
			return *a.Key < *b.Key
		}
		return a.LastModified.After(*b.LastModified)
	})
	return found, err
}

// secret reads a key from its file: an environment could be read by others.
func secret(name string) string {
	text, err := os.ReadFile("/run/secrets/second_copy_" + name)
	if err != nil {
		log.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func main() {
	backend, err := posix.New("/s3/objects", meta.XattrMeta{}, posix.PosixOpts{
		VersioningDir: "/s3/versions", Concurrency: 500, CopyObjectThreshold: 5 << 30,
	})
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(embedgw.RunVersityGW(context.Background(), dated{backend}, &embedgw.Config{
		RootUserAccess:    secret("access_key"),
		RootUserSecret:    secret("secret_key"),
		Ports:             []string{":7070"},
		MaxConnections:    10000,
		MaxRequests:       1000,
		MultipartMaxParts: 10000,
		Quiet:             true,
	}))
}
