package control

// Release is the version of the project, which both programs print.
const Release = "0.1.0"
