module guest/{{name}}

go 1.24
