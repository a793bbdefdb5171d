// Package cmd holds what is tested of the two programs together: the scripts
// of testdata/script, run by script_test.go against a daemon without a device,
// and the import rule of the whole repository, deps_test.go.
package cmd
