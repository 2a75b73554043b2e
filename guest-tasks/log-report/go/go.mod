module log-report-go

go 1.24
