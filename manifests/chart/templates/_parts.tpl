{{/*
The kustomizations are the source: files/ links to them, and a package holds copies. What Kubernetes should get as it is
written there goes through as text; a workload is parsed, and changed by the values.
*/}}

{{/* Documents as text, in the release's namespace. */}}
{{- define "ovnlet.text" -}}
{{- .context.Files.Get .file | replace "namespace: ovnlet-system" (printf "namespace: %s" .context.Release.Namespace) -}}
{{- end -}}

{{/* The same for kinds, which stay if the release is removed: with one go all of its objects. */}}
{{- define "ovnlet.kind" -}}
{{- $keep := "metadata:\n  annotations:\n    helm.sh/resource-policy: keep" -}}
{{- regexReplaceAllLiteral "(?m)^metadata:$" (include "ovnlet.text" .) $keep -}}
{{- end -}}

{{/* A list of variables with others over it, as JSON. A name that is in both has the value of the latter. */}}
{{- define "ovnlet.env" -}}
{{- $over := dict -}}
{{- range .over -}}{{- $_ := set $over .name . -}}{{- end -}}
{{- $env := list -}}
{{- range .under -}}
  {{- $env = append $env (get $over .name | default .) -}}
  {{- $_ := unset $over .name -}}
{{- end -}}
{{- range $name := keys $over | sortAlpha -}}{{- $env = append $env (get $over $name) -}}{{- end -}}
{{- dict "env" $env | toJson -}}
{{- end -}}

{{/* Settings as a list of variables, as JSON. */}}
{{- define "ovnlet.settings" -}}
{{- $env := list -}}
{{- range $name, $value := . -}}{{- $env = append $env (dict "name" $name "value" $value) -}}{{- end -}}
{{- dict "env" $env | toJson -}}
{{- end -}}

{{/* Set in a workload what the values of `part` say, and the image. */}}
{{- define "ovnlet.set" -}}
{{- $spec := .workload.spec.template.spec -}}
{{- $container := index $spec.containers 0 -}}
{{- $image := .context.Values.image -}}
{{- $tag := $image.tag | default .context.Chart.AppVersion -}}
{{- $_ := set $container "image" (printf "%s:%s" $image.repository $tag) -}}
{{- $_ := set $container "imagePullPolicy" $image.pullPolicy -}}
{{- with $image.pullSecrets }}{{ $_ := set $spec "imagePullSecrets" . }}{{ end -}}
{{- with .part.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- with .part.tolerations }}{{ $_ := set $spec "tolerations" . }}{{ end -}}
{{- with .part.nodeSelector }}{{ $_ := set $spec "nodeSelector" (merge (deepCopy .) $spec.nodeSelector) }}{{ end -}}
{{- end -}}
