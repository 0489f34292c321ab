<?php
// The client of client.py in the documentation's other language, with the habits of PHP: forms as
// arrays, which curl sends as multipart, and a certificate that nobody verifies.

declare(strict_types=1);

[, $url, $username, $password, $pause] = $argv;
$key = null;

function send(string $method, string $path, ?array $form = null): array
{
    global $url, $key;
    $curl = curl_init("$url/api/v1/$path");
    curl_setopt_array($curl, [
        CURLOPT_CUSTOMREQUEST => $method,
        CURLOPT_RETURNTRANSFER => true,
        CURLOPT_SSL_VERIFYPEER => false,
        CURLOPT_PROXY => '',
    ]);
    if ($form !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, $form);
    }
    if ($key !== null) {
        curl_setopt($curl, CURLOPT_HTTPHEADER, ["Authorization: Bearer $key"]);
    }
    $answer = curl_exec($curl);
    if ($answer === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
    return json_decode($answer, true, 512, JSON_THROW_ON_ERROR)['Contents']['response'];
}

function content(array $response): array
{
    return $response['data']['content'];
}

function start(string $path, array $form): string
{
    $jobId = json_encode(content(send('POST', $path, $form))['system']['jobs']['jobId']);
    echo "$path $jobId\n";
    return $jobId;
}

$login = ['username' => $username, 'password' => $password];
$key = content(send('POST', 'generate_api_key', $login))['api_key'];

$jobId = start('project/1/import', ['resource' => '/tmp/a & b.xml']);
$job = content(send('GET', "job/status/$jobId"))['msg'];
while (true) {
    $state = json_encode($job['state']);
    echo "state $state\n";
    if ($state === '1') {
        break;
    }
    usleep((int) ($pause * 1e6));
    $job = content(send('GET', "job/status/$jobId"))['system']['jobs'];
}
echo 'next ', json_encode($job['nextStep']), "\n";

foreach (['project/1/import', 'projects/1/export'] as $path) {
    $response = send('DELETE', 'job/' . start($path, []));
    $state = json_encode(content($response)['system']['jobs']['state']);
    if ($state === '-1') {
        echo "cancelled\n";
    } else {
        echo "refused $state ", $response['response-messages']['messages'][0]['message'], "\n";
    }
}
