"""The dashboard's queries, answered by a Prometheus that scraped a cluster, and a picture of it.

No Grafana is packaged for the machines that this runs on, so the picture is drawn from the
dashboard's JSON and the answers.
"""
