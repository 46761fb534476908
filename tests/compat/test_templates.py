"""Templates say of containers, images and volumes what Docker's say, with Docker's exit status."""

from __future__ import annotations

import busybox_image
from pair import Case, Pair, agree

IMAGE = busybox_image.REFERENCE
OF_A_CONTAINER = r"""
{{.Name}}
{{.State.Status}} {{.State.Running}} {{.State.ExitCode}} {{.State.OOMKilled}} {{.State.StartedAt}}
{{.State}}
{{json .State.Health}}
{{.State.Health}}
{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}
{{.State.Health.Status}}
{{.Config.Cmd}} {{.Config.Entrypoint}} {{len .Config.Entrypoint}} {{json .Config.Entrypoint}}
{{.Config.Image}} {{.Config.User}} {{.Config.Tty}} {{.Config.OnBuild}} {{.Config.Shell}} {{.Config.Healthcheck}}
{{.Config.Labels}} {{json .Config.Labels}}
{{.Config.Labels.a}} {{.Config.Labels.none}} [{{index .Config.Labels "none"}}] {{index .Config.Labels "com.example.b"}}
{{range $k, $v := .Config.Labels}}{{$k}}={{$v}};{{end}}
{{range .Config.Env}}{{println .}}{{end}}
{{join .Config.Cmd "-"}} {{join .Config.Entrypoint "-"}} {{.Path}} {{.Args}}
{{range .Mounts}}{{if .Name}}[{{.Type}} {{.Name}} {{.Destination}} {{.Driver}} {{.RW}}]{{end}}{{end}} {{len .Mounts}}
{{range .Mounts}}{{if eq .Type "bind"}}{{.Source}}{{end}}{{end}}
{{len .HostConfig.Binds}}{{range .HostConfig.Binds}}{{if eq . "data:/data"}}[{{.}}]{{end}}{{end}}
{{range .HostConfig.Binds}}{{if eq . "/etc:/host:ro"}}[{{.}}]{{end}}{{end}}
{{.HostConfig.RestartPolicy}} {{.HostConfig.RestartPolicy.Name}} {{printf "%+v" .HostConfig.RestartPolicy}}
{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.CpuShares}}
{{.HostConfig.Memory}} {{.HostConfig.NanoCPUs}} {{.HostConfig.CPUShares}}
{{.HostConfig.Devices}} {{range .HostConfig.Devices}}x{{end}} {{len .HostConfig.Devices}}
{{.HostConfig.Privileged}} {{.HostConfig.AutoRemove}} {{.HostConfig.CapAdd}}
{{.HostConfig.SecurityOpt}} {{.HostConfig.DNS}}
{{.HostConfig.Init}} {{.HostConfig.PidsLimit}} {{.HostConfig.OomKillDisable}} {{.HostConfig.MemorySwappiness}}
{{.HostConfig.Sysctls}} {{.HostConfig.StorageOpt}} {{.HostConfig.Tmpfs}} {{.HostConfig.ExtraHosts}}
{{(index (index .HostConfig.PortBindings "80/tcp") 0).HostPort}}
{{(index (index .HostConfig.PortBindings "1/tcp") 0).HostPort}}
[{{index .HostConfig.PortBindings "1/tcp"}}]
{{range $p, $c := .HostConfig.PortBindings}}{{$p}} -> {{(index $c 0).HostPort}}{{end}}
{{.NetworkSettings.IPAddress}}|{{.NetworkSettings.GlobalIPv6Address}}|{{.NetworkSettings.SecondaryIPAddresses}}
{{range .NetworkSettings.Networks}}{{.IPAddress}}{{.Aliases}}{{.Links}}{{end}} {{len .NetworkSettings.Networks}}
{{.ID | len}} {{slice .ID 0 0}} {{slice .Name 1}}
{{.Id | len}} {{slice .Id 0 0}} {{slice .Name 1}}
{{.RestartCount}} {{.ExecIDs}} {{.SizeRw}} {{.AppArmorProfile}} {{.Platform}}
{{.GraphDriver.Data.none}}
{{.Nope}}
{{.State.Nope}}
{{.Config.Labels.a.b}}
{{index .Args 5}}
{{index .State "Status"}} {{index .State "none"}} {{len .HostConfig.RestartPolicy}}
{{range $k, $v := .HostConfig.RestartPolicy}}{{$k}}={{$v}};{{end}}
{{index .State 1}}
{{eq 1 "a"}}
{{nil}}
{{foo}}
{{if}}
{{.Name
{{"\\u00e9\\x41\\101\\t\\""}} {{`raw\n`}} {{'a'}} {{0x10}} {{1e3}} {{1000000.0}}
{{"\\q"}}
{{print 1 2 "a" 3}} {{println 1 "b"}} {{printf "%5.1f|%-6s|%06d|%x|%q" 1.25 "ab" 12 "hi" "\\x1b"}}
{{printf "%d %s %T %T" .Name 3 .Name .State.Running}}
{{html "<a>&"}} {{js "a='b'"}} {{urlquery "a b/é"}}
{{title "ab cd"}} {{upper "é"}} {{truncate "abcdef" 3}} {{pad "x" 1 2}}|
{{$x := 1}}{{if true}}{{$x = 2}}{{end}}{{$x}}
{{range $i, $e := split "a-b-c" "-"}}{{if $i}}{{break}}{{end}}{{$e}}{{end}}
{{and 0 .State.Health.Status}} {{or 1 .State.Health.Status}} {{not ""}} {{lt 1 2}} {{ge "b" "a"}}
{{with .State.Error}}x{{else}}none{{end}} {{- " trimmed " -}}  |
{{/* a comment */}}{{"}}"}}
{{call .Name}}
{{join .Config.Labels ","}}
""".strip().splitlines()
OF_AN_IMAGE = """
{{.RepoTags}} {{.RepoDigests}} {{.Architecture}} {{.Os}} {{.Author}} {{.Comment}} {{.Parent}}
{{.Config.Cmd}} {{.Config.Entrypoint}} {{.Config.Env}} {{.Config.Labels}} {{.Config.Volumes}} {{.Config.ExposedPorts}}
{{range $p, $_ := .Config.ExposedPorts}}{{$p}}{{end}}{{.Config.Labels.none}}
{{.Config.Healthcheck}} {{.Config.User}} {{.Config.WorkingDir}} {{.Config.StopSignal}} {{json .Config.Healthcheck}}
{{.RootFS.Type}} {{len .RootFS.Layers}} {{.Created}} {{.DockerVersion}}
{{.Metadata.LastTagTime}}
""".strip().splitlines()
OF_A_VOLUME = "{{.Name}} {{.Driver}} {{.Labels}} {{.Labels.none}} {{.Scope}} {{.Status}}".split(" ")
DIFFERENT: dict[Case, str] = {
    ("inspect", "-f", "{{.State}}", "web"): "State.Message is Hyper's own",
    (
        "image",
        "inspect",
        "-f",
        "{{.Metadata.LastTagTime}}",
        IMAGE,
    ): "the one time that Docker shows in Go's own form",
}


def test_templates(pair: Pair) -> None:
    pair.make("volume", "create", "--label", "a=b", "data")
    words = (
        "-l",
        "a=1",
        "-l",
        "com.example.b=2",
        "-v",
        "data:/data",
        "-v",
        "/etc:/host:ro",
        "-p",
        "18080:80",
    )
    # docker's command has its -v in a map, so that the order of HostConfig.Binds is another each time.
    pair.make("create", "--name", "web", *words, IMAGE, "sleep", "100")
    cases: list[Case] = [("inspect", "-f", form, "web") for form in OF_A_CONTAINER]
    cases += [("image", "inspect", "-f", form, IMAGE) for form in OF_AN_IMAGE]
    cases += [("volume", "inspect", "-f", form, "data") for form in OF_A_VOLUME]
    agree(pair, cases, DIFFERENT)
