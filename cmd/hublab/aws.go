package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"peerhub/test/lab"
)

func (a *app) env() *cobra.Command {
	return &cobra.Command{
		Use: "env ACCOUNT", Short: "Print an account's keys as shell variables",
		Long: `Print an account's keys as shell variables. The endpoint answers inside the lab only:
use them in a host, as in
  eval "$(hublab env 222222222222)"; hublab exec hub -- sh`,
		Args: args(cobra.ExactArgs(1)),
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			k, err := client.Credentials(c.Context(), words[0])
			if err != nil {
				return usageError{err}
			}
			for _, v := range k.Environ() {
				say(c.OutOrStdout(), "export %s", v)
			}
			return nil
		},
	}
}

func (a *app) aws() *cobra.Command {
	var awsPath string
	c := &cobra.Command{
		Use: "aws ACCOUNT -- ARG...", Short: "Run the AWS CLI against the lab with an account's keys",
		Example: `  hublab aws 111111111111 -- ec2 describe-vpc-peering-connections
  hublab aws --aws /usr/bin/aws 111111111111 -- sts get-caller-identity`,
		Args: args(cobra.MinimumNArgs(2)),
		RunE: func(c *cobra.Command, words []string) error {
			client, err := a.dial()
			if err != nil {
				return err
			}
			info, err := client.Info(c.Context())
			if err != nil {
				return err
			}
			k, err := client.Credentials(c.Context(), words[0])
			if err != nil {
				return usageError{err}
			}
			argv := []string{"ip", "netns", "exec", info.Spec.Prefix + lab.HostAWS, awsPath, "--endpoint-url", k.Endpoint}
			return become(lab.Environ(k.Environ()...), append(argv, program(words)...)...)
		},
	}
	c.Flags().StringVar(&awsPath, "aws", "aws", "the aws program to run")
	c.Flags().SetInterspersed(false)
	return c
}

// signalsBack undoes what main did with signals, before another program takes over.
func signalsBack() { signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGPIPE) }
